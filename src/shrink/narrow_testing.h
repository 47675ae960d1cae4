// What tests of narrower heads share: bases of all heads, and plans that narrow some.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "core/random.h"
#include "model/head_basis.h"
#include "model/model_testing.h"
#include "shrink/shrink.h"

namespace coppice {

// Random bases of every head: orthogonal ones of values, and what leaves scores as they are of
// queries and keys.
inline std::vector<HeadBasis> RandomBases(const ModelSpec& spec, Random* random) {
  std::vector<HeadBasis> bases;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    HeadBasis basis;
    if (sub.kind == UnitKind::kHead && sub.units > 0) {
      const int64_t width = ValueWidth(sub);
      basis.values = std::get<0>(
          at::linalg_qr(RandomTensor({sub.units, width, width}, random).to(at::kDouble)));
      const int64_t keys = sub.key_width;
      if (spec.rotary.frequencies.empty()) {
        basis.query = RandomTensor({sub.units, keys, keys}, random).to(at::kDouble) * 0.2 +
                      at::eye(keys, at::kDouble);
        basis.key = at::linalg_inv(basis.query).transpose(1, 2);
      } else {
        for (int64_t pair = 0; pair < keys / 2; ++pair)
          basis.pairs.insert(basis.pairs.begin() + random->Below(pair + 1), pair);
      }
    }
    bases.push_back(basis);
  }
  return bases;
}

// Every unit stays, with about three quarters of the numbers of the even layers' values, half of
// the odd layers', and half of the numbers of the even layers' queries and keys.
inline Plan NarrowPlan(const ModelSpec& spec) {
  Plan plan = FullPlan(UnitCounts(spec));
  for (const SubLayerSpec& sub : spec.sub_layers) {
    HeadShape shape;
    if (sub.kind == UnitKind::kHead) {
      const int64_t width = ValueWidth(sub);
      const bool even = sub.layer % 2 == 0;
      shape.values = std::max<int64_t>(1, even ? 3 * width / 4 : width / 2);
      if (even) shape.keys = std::max<int64_t>(2, sub.key_width / 4 * 2);
    }
    plan.heads.push_back(shape);
  }
  return plan;
}

// The model with zeros for the queries' numbers that a plan drops, so that the keys' do not count.
inline Model WithMaskedKeys(const Model& model, const Plan& plan) {
  Model masked = model;
  const bool turns = !model.spec.rotary.frequencies.empty();
  for (size_t i = 0; i < plan.heads.size(); ++i) {
    const SubLayerSpec& sub = model.spec.sub_layers[i];
    if (plan.heads[i].keys == 0) continue;
    at::Tensor number = at::zeros({sub.key_width});
    if (turns) {
      for (const int64_t half : {int64_t{0}, sub.key_width / 2})
        number.slice(0, half, half + plan.heads[i].keys / 2).fill_(1);
    } else {
      number.slice(0, 0, plan.heads[i].keys).fill_(1);
    }
    for (const char* end : {".weight", ".bias"}) {
      const auto found = masked.tensors.find(sub.query + end);
      if (found == masked.tensors.end()) continue;
      at::Tensor rows = number.repeat({sub.units * sub.queries});
      if (found->second.dim() == 2) rows = rows.unsqueeze(1);
      found->second = found->second * rows;
    }
  }
  return masked;
}

// Zeros for the values' numbers that a plan drops, by sub-layer.
inline UnitObserver NarrowMasks(const ModelSpec& spec, const Plan& plan) {
  std::vector<at::Tensor> masks;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const SubLayerSpec& sub = spec.sub_layers[i];
    at::Tensor unit = at::zeros({sub.units});
    for (const int64_t kept : plan.kept[i]) unit[kept] = 1;
    at::Tensor number = at::ones({ValueWidth(sub)});
    if (plan.shape(i).values > 0) number.slice(0, plan.shape(i).values).zero_();
    masks.push_back(at::outer(unit, number.repeat({sub.queries})).flatten());
  }
  return [masks](size_t i, const at::Tensor& x) { return x * masks[i]; };
}

}  // namespace coppice
