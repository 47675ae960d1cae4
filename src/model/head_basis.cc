#include "model/head_basis.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/error.h"

namespace coppice {
namespace {

// Turns `each` numbers a unit along axis 0 of a matrix (units * each, D) or bias (units * each) by
// the unit's basis (units, each, each): new = basis' old.
void TurnRows(const std::string& name, const at::Tensor& basis, Model* model) {
  const auto found = model->tensors.find(name);
  if (found == model->tensors.end()) return;
  const at::Tensor old = found->second;
  const at::Tensor by_unit = old.to(at::kDouble).reshape({basis.size(0), basis.size(1), -1});
  found->second =
      at::bmm(basis.transpose(1, 2), by_unit).reshape(old.sizes()).to(old.scalar_type());
}

// Pairs (j, j + K / 2) of every head along axis 0, in a new order: pair i becomes pairs[i].
void ReorderPairs(const std::string& name, const std::vector<int64_t>& pairs, Model* model) {
  const auto found = model->tensors.find(name);
  if (found == model->tensors.end()) return;
  const at::Tensor old = found->second;
  const auto count = static_cast<int64_t>(pairs.size());
  found->second = old.reshape({-1, count, old.numel() / std::max<int64_t>(1, old.size(0))})
                      .index_select(1, at::tensor(pairs, at::kLong).to(old.device()))
                      .reshape(old.sizes());
}

// The same along axis 1 of (D, units * queries * each): every query head of a unit by its basis.
void TurnColumns(const std::string& name, const at::Tensor& basis, int64_t queries, Model* model) {
  at::Tensor& tensor = model->tensors.at(name);
  const at::Tensor by_unit = tensor.to(at::kDouble)
                                 .reshape({-1, basis.size(0), queries, basis.size(1)})
                                 .permute({1, 2, 0, 3});  // (units, R, D, F)
  tensor = at::matmul(by_unit, basis.unsqueeze(1))
               .permute({2, 0, 1, 3})
               .reshape(tensor.sizes())
               .to(tensor.scalar_type());
}

void TurnValues(const SubLayerSpec& sub, const HeadBasis& basis, Model* model) {
  Check(basis.values.defined() && basis.values.size(0) == sub.units, "a basis of other heads");
  TurnRows(sub.value + ".weight", basis.values, model);
  TurnRows(sub.value + ".bias", basis.values, model);
  TurnColumns(sub.output + ".weight", basis.values, sub.queries, model);
}

// turned: the sub-layer in `model`, which learns what turns.
void TurnKeys(const SubLayerSpec& sub, const HeadBasis& basis, SubLayerSpec* turned, Model* model) {
  for (const char* end : {".weight", ".bias"}) {
    if (basis.pairs.empty()) {
      Check(basis.key.defined() && basis.key.size(0) == sub.units, "a basis of other heads");
      TurnRows(sub.query + end, basis.query, model);
      TurnRows(sub.key + end, basis.key, model);
    } else {
      Check(static_cast<int64_t>(basis.pairs.size()) * 2 == sub.key_width, "pairs of other heads");
      ReorderPairs(sub.query + end, basis.pairs, model);
      ReorderPairs(sub.key + end, basis.pairs, model);
    }
  }
  if (basis.pairs.empty()) return;
  turned->pairs.clear();
  for (const int64_t pair : basis.pairs)
    turned->pairs.push_back(sub.pairs.empty() ? pair : sub.pairs[static_cast<size_t>(pair)]);
}

}  // namespace

Model InBasis(const Model& model, const Plan& plan, const std::vector<HeadBasis>& bases) {
  Model turned = model;
  for (size_t i = 0; i < plan.heads.size(); ++i) {
    const SubLayerSpec& sub = model.spec.sub_layers[i];
    const auto [values, keys] = plan.heads[i];
    if (sub.units == 0) continue;
    if (values > 0 && values < ValueWidth(sub)) TurnValues(sub, bases.at(i), &turned);
    if (keys > 0 && keys < sub.key_width)
      TurnKeys(sub, bases.at(i), &turned.spec.sub_layers[i], &turned);
  }
  return turned;
}

}  // namespace coppice
