#include "shrink/shrink.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <numeric>

#include "core/error.h"
#include "load/mapped_tensor.h"

namespace coppice {
namespace {

// Of every `width` positions along a slice's axis that belong to kept units, `stays` stay: the
// first ones.
at::Tensor KeptPositions(const std::vector<int64_t>& kept, const Slice& slice, int64_t width,
                         int64_t stays) {
  std::vector<int64_t> positions;
  positions.reserve(kept.size() * static_cast<size_t>(slice.width));
  for (const int64_t unit : kept) {
    for (int64_t k = 0; k < slice.width; ++k) {
      if (k % width < stays) positions.push_back(unit * slice.width + k);
    }
  }
  return at::tensor(positions, at::kLong);
}

// Of the tensors that the plan cuts, once they are cut.
int64_t CutBytes(const Model& model, const Plan& plan) {
  int64_t bytes = 0;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const SubLayerSpec& sub = model.spec.sub_layers[i];
    const auto kept = static_cast<int64_t>(plan.kept[i].size());
    if (sub.units == 0 || (kept == sub.units && plan.shape(i) == HeadShape{})) continue;
    for (const Slice& slice : sub.slices)
      bytes += static_cast<int64_t>(model.tensors.at(slice.tensor).nbytes()) / sub.units * kept;
  }
  return bytes;
}

struct Cut {
  int64_t width = 1, stays = 1;
};

// How a slice of narrower heads is cut. Pairs are two halves of a head.
Cut CutOf(const Slice& slice, const SubLayerSpec& sub, HeadShape shape, bool pairs) {
  if (slice.part == HeadPart::kValues && shape.values > 0) return {ValueWidth(sub), shape.values};
  if (slice.part == HeadPart::kKeys && shape.keys > 0)
    return pairs ? Cut{sub.key_width / 2, shape.keys / 2} : Cut{sub.key_width, shape.keys};
  return {};
}

// The widths that a cut leaves.
void Narrow(HeadShape shape, bool pairs, SubLayerSpec* sub) {
  if (shape.keys > 0 && shape.keys < sub->key_width) {
    if (pairs && sub->pairs.empty()) {
      sub->pairs.resize(static_cast<size_t>(sub->key_width / 2));
      std::iota(sub->pairs.begin(), sub->pairs.end(), 0);
    }
    if (pairs) sub->pairs.resize(static_cast<size_t>(shape.keys / 2));
    sub->key_width = shape.keys;
  }
  if (shape.values > 0) sub->width = shape.values * sub->queries;
}

}  // namespace

std::vector<int64_t> UnitCounts(const ModelSpec& spec) {
  std::vector<int64_t> counts;
  for (const SubLayerSpec& sub : spec.sub_layers) counts.push_back(sub.units);
  return counts;
}

std::vector<HeadShape> HeadShapes(const ModelSpec& spec) {
  std::vector<HeadShape> shapes;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    const bool heads = sub.kind == UnitKind::kHead;
    shapes.push_back(heads ? HeadShape{ValueWidth(sub), sub.key_width} : HeadShape{});
  }
  return shapes;
}

Model Shrink(const Model& model, const Plan& plan, int64_t memory) {
  ValidatePlan(plan, UnitCounts(model.spec), "plan");
  ValidateHeads(plan, HeadShapes(model.spec), "plan");
  const bool pairs = !model.spec.rotary.frequencies.empty();
  Model smaller = model;
  const bool in_files = CutBytes(model, plan) > memory;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    SubLayerSpec& sub = smaller.spec.sub_layers[i];
    const std::vector<int64_t>& kept = plan.kept[i];
    const HeadShape shape = plan.shape(i);
    if (pairs && shape.keys % 2 != 0) {
      ThrowBadInput({.what = fmt::format("bad \"keys\" of sub-layer {}", i),
                     .where = "plan",
                     .expected = "an even number: what turns is pairs",
                     .found = fmt::to_string(shape.keys)});
    }
    const bool whole = static_cast<int64_t>(kept.size()) == sub.units;
    for (Slice& slice : sub.slices) {
      at::Tensor& tensor = smaller.tensors.at(slice.tensor);
      const Cut cut = CutOf(slice, sub, shape, pairs);
      if (whole && cut.stays == cut.width) continue;  // stays shared
      const at::Tensor dense = tensor;
      tensor = dense.index_select(
          slice.axis, KeptPositions(kept, slice, cut.width, cut.stays).to(dense.device()));
      slice.width = slice.width / cut.width * cut.stays;
      if (!in_files) continue;
      tensor = InFile(tensor);
      DropPages(dense);
    }
    Narrow(shape, pairs, &sub);
    sub.units = static_cast<int64_t>(kept.size());
  }
  smaller.config = ConfigWithSizes(model.config, smaller.spec, smaller.tensors);
  return smaller;
}

}  // namespace coppice
