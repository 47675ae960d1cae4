#include "shrink/shrink.h"

#include <ATen/ATen.h>

#include "load/mapped_tensor.h"

namespace coppice {
namespace {

// Positions along a slice's axis that belong to the kept units.
at::Tensor KeptPositions(const std::vector<int64_t>& kept, int64_t width) {
  std::vector<int64_t> positions;
  positions.reserve(kept.size() * static_cast<size_t>(width));
  for (const int64_t unit : kept) {
    for (int64_t k = 0; k < width; ++k) positions.push_back(unit * width + k);
  }
  return at::tensor(positions, at::kLong);
}

// Of the tensors that the plan cuts, once they are cut.
int64_t CutBytes(const Model& model, const Plan& plan) {
  int64_t bytes = 0;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const SubLayerSpec& sub = model.spec.sub_layers[i];
    const auto kept = static_cast<int64_t>(plan.kept[i].size());
    if (kept == sub.units) continue;
    for (const Slice& slice : sub.slices)
      bytes += static_cast<int64_t>(model.tensors.at(slice.tensor).nbytes()) / sub.units * kept;
  }
  return bytes;
}

}  // namespace

std::vector<int64_t> UnitCounts(const ModelSpec& spec) {
  std::vector<int64_t> counts;
  for (const SubLayerSpec& sub : spec.sub_layers) counts.push_back(sub.units);
  return counts;
}

Model Shrink(const Model& model, const Plan& plan, int64_t memory) {
  ValidatePlan(plan, UnitCounts(model.spec), "plan");
  Model smaller = model;
  const bool in_files = CutBytes(model, plan) > memory;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    SubLayerSpec& sub = smaller.spec.sub_layers[i];
    const std::vector<int64_t>& kept = plan.kept[i];
    if (static_cast<int64_t>(kept.size()) == sub.units) continue;
    for (const Slice& slice : sub.slices) {
      at::Tensor& tensor = smaller.tensors.at(slice.tensor);
      const at::Tensor whole = tensor;
      tensor = whole.index_select(slice.axis, KeptPositions(kept, slice.width).to(whole.device()));
      if (!in_files) continue;
      tensor = InFile(tensor);
      DropPages(whole);
    }
    sub.units = static_cast<int64_t>(kept.size());
  }
  smaller.config = ConfigWithSizes(model.config, smaller.spec, smaller.tensors);
  return smaller;
}

}  // namespace coppice
