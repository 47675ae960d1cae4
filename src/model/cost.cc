#include "model/cost.h"

#include <ATen/ATen.h>

#include <cmath>
#include <set>

#include "core/error.h"

namespace coppice {
namespace {

int64_t UnitCost(const HeadCost& head) {
  const double cost = static_cast<double>(head.values) * head.per_value +
                      static_cast<double>(head.keys) * head.per_key;
  return static_cast<int64_t>(std::ceil(cost));
}

HeadCost MacsOfHead(const SubLayerSpec& sub, int64_t width, double tokens) {
  const double d = static_cast<double>(width);
  const double r = static_cast<double>(sub.queries);
  const double each = (r + 1) * tokens * d + r * tokens * tokens;
  return {ValueWidth(sub), sub.key_width, each, each};
}

int64_t ChannelMacs(const SubLayerSpec& sub, int64_t width, double tokens) {
  return static_cast<int64_t>(
      std::ceil((sub.gate.empty() ? 2 : 3) * tokens * static_cast<double>(width)));
}

// part: kWhole for all slices.
int64_t UnitParameters(const Model& model, const SubLayerSpec& sub,
                       HeadPart part = HeadPart::kWhole) {
  int64_t count = 0;
  for (const Slice& slice : sub.slices) {
    if (slice.tensor == sub.relative_bias) continue;  // a copy of the shared table
    if (part != HeadPart::kWhole && slice.part != part) continue;
    const at::Tensor& tensor = model.tensors.at(slice.tensor);
    int64_t numbers = slice.width;
    for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
      if (axis != slice.axis) numbers *= tensor.size(axis);
    }
    count += numbers;
  }
  return count;
}

HeadCost ParametersOfHead(const Model& model, const SubLayerSpec& sub) {
  const auto each = [&](HeadPart part, int64_t width) {
    return static_cast<double>(UnitParameters(model, sub, part)) / static_cast<double>(width);
  };
  return {ValueWidth(sub), sub.key_width, each(HeadPart::kValues, ValueWidth(sub)),
          each(HeadPart::kKeys, sub.key_width)};
}

// Of the model's head, not of an attention head.
int64_t HeadMacs(const ModelSpec& spec, double tokens) {
  if (spec.task == Task::kLanguageModel) {
    return static_cast<int64_t>(std::ceil(tokens * static_cast<double>(spec.labels * spec.width)));
  }
  const double positions = spec.task == Task::kQuestionAnswering ? tokens : 1;
  double macs = 0;
  for (size_t i = 0; i < spec.head.size(); ++i) {
    const int64_t out = i + 1 == spec.head.size() ? spec.labels : spec.width;
    macs += positions * static_cast<double>(out * spec.width);
  }
  return static_cast<int64_t>(std::ceil(macs));
}

}  // namespace

int64_t CostTable::OfSubLayer(size_t index, int64_t kept, HeadShape shape) const {
  if (shape != HeadShape{}) {
    Check(!heads.empty(), "no cost of narrow heads");
    HeadCost head = heads[index];
    if (shape.values > 0) head.values = shape.values;
    if (shape.keys > 0) head.keys = shape.keys;
    return UnitCost(head) * kept;
  }
  return curves.empty() ? unit[index] * kept : curves[index][static_cast<size_t>(kept)];
}

int64_t CostTable::Dense() const {
  if (measured) return *measured;
  int64_t cost = fixed;
  for (size_t i = 0; i < units.size(); ++i) cost += OfSubLayer(i, units[i]);
  return cost;
}

int64_t CostTable::Of(const Plan& plan) const {
  Check(plan.kept.size() == units.size(), "plan and cost table are of different models");
  int64_t cost = fixed;
  for (size_t i = 0; i < units.size(); ++i)
    cost += OfSubLayer(i, static_cast<int64_t>(plan.kept[i].size()), plan.shape(i));
  return cost;
}

CostTable MakeCostTable(const Model& model, CostKind kind, CostScope scope, double tokens) {
  Check(kind != CostKind::kLatency, "latency is measured");
  CostTable table;
  for (const SubLayerSpec& sub : model.spec.sub_layers) {
    const bool macs = kind == CostKind::kMacs;
    HeadCost head;
    if (sub.kind == UnitKind::kHead) {
      head = macs ? MacsOfHead(sub, model.spec.width, tokens) : ParametersOfHead(model, sub);
      table.unit.push_back(UnitCost(head));
    } else {
      table.unit.push_back(macs ? ChannelMacs(sub, model.spec.width, tokens)
                                : UnitParameters(model, sub));
    }
    table.heads.push_back(head);
    table.units.push_back(sub.units);
  }
  if (scope == CostScope::kModel) {
    if (kind == CostKind::kMacs) {
      table.fixed = HeadMacs(model.spec, tokens);
    } else {
      const int64_t blocks = table.Dense();
      table.fixed = MeasureSize(model, tokens).parameters - blocks;
    }
  }
  return table;
}

ModelSize MeasureSize(const Model& model, double tokens) {
  ModelSize size;
  size.macs_blocks = MakeCostTable(model, CostKind::kMacs, CostScope::kBlocks, tokens).Dense();
  size.macs = size.macs_blocks + HeadMacs(model.spec, tokens);
  size.parameters_blocks =
      MakeCostTable(model, CostKind::kParameters, CostScope::kBlocks, tokens).Dense();
  std::set<std::string> copies;
  for (const SubLayerSpec& sub : model.spec.sub_layers) copies.insert(sub.relative_bias);
  for (const auto& [name, tensor] : OwnTensors(model)) {
    if (tensor.is_floating_point() && copies.count(name) == 0) size.parameters += tensor.numel();
    size.bytes += tensor.numel() * static_cast<int64_t>(tensor.element_size());
  }
  return size;
}

int64_t BytesInFile(const std::filesystem::path& file, const ModelSize& size) {
  std::error_code error;
  if (file.extension() != ".gguf") return size.bytes;
  const auto bytes = std::filesystem::file_size(file, error);
  return error ? size.bytes : static_cast<int64_t>(bytes);
}

}  // namespace coppice
