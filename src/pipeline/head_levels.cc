#include "pipeline/head_levels.h"

#include <algorithm>

#include "pipeline/select.h"
#include "score/value_basis.h"
#include "shrink/shrink.h"

namespace coppice {

HeadBasis MakeHeadBasis(const Model& model, const Network& dense, size_t index,
                        const Curvature& curvature, const std::vector<ReaderMoments>& moments,
                        HeadParts parts) {
  HeadBasis basis;
  const SubLayer& sub = dense.sub_layers[index];
  if (sub.kind != UnitKind::kHead || sub.units == 0) return basis;
  if (parts.values) {
    basis.values = MakeValueBasis(curvature, OutputProjection(model, index), sub.units,
                                  {.queries = sub.queries, .fit_bias = sub.out.bias.defined()});
  }
  if (parts.keys) AddKeyBasis(model, index, moments[index], &basis);
  return basis;
}

std::vector<int64_t> KeyWidths(const SubLayerSpec& sub) {
  std::vector<int64_t> widths;
  if (sub.kind != UnitKind::kHead || sub.units == 0) return widths;
  for (const int64_t quarters : {3, 2, 1}) {
    const int64_t width = quarters * sub.key_width / 4 / 2 * 2;
    if (width > 0 && width < sub.key_width && (widths.empty() || width < widths.back()))
      widths.push_back(width);
  }
  return widths;
}

std::vector<Replacement> WithNarrowKeys(const Model& model, const Network& dense, size_t index,
                                        const std::vector<HeadBasis>& bases) {
  std::vector<Replacement> narrow;
  Network one;  // of this sub-layer alone
  one.compute = dense.compute;
  one.sub_layers.resize(dense.sub_layers.size());
  Plan plan = FullPlan(UnitCounts(model.spec));
  plan.heads.resize(plan.kept.size());
  for (const int64_t width : KeyWidths(model.spec.sub_layers[index])) {
    plan.heads[index].keys = width;
    const Model cut = Shrink(InBasis(model, plan, bases), plan);
    Rebind(cut, index, &one);
    narrow.push_back({{}, {}, one.sub_layers[index]});
  }
  return narrow;
}

std::vector<KeyLevel> KeyLevelsOf(const SubLayerSpec& sub, const std::vector<double>& measured,
                                  double floor) {
  std::vector<KeyLevel> levels;
  const std::vector<int64_t> widths = KeyWidths(sub);
  if (measured.size() != widths.size()) return levels;  // values alone are narrowed
  // What drowns in the floor is not free, and narrower is never better.
  double least = floor;
  for (size_t k = 0; k < widths.size(); ++k) {
    least = std::max(least, measured[k] - floor);
    levels.push_back({widths[k], least});
  }
  return levels;
}

void ScaleValues(double scale, size_t index, HeadLevels* heads) {
  if (heads->values.empty()) return;
  for (ValueLevel& level : heads->values[index]) level.loss *= scale;
}

Levels WithNarrowHeads(const HeadLevels& heads, size_t index, const CostTable& costs, int64_t least,
                       Levels levels) {
  const auto cost = [&](int64_t count, HeadShape shape) {
    return costs.OfSubLayer(index, count, shape);
  };
  if (!heads.values.empty()) {
    for (const ValueLevel& level : heads.values[index]) {
      const HeadShape shape = {.values = level.values};
      if (level.count >= least)
        levels.push_back({level.count, level.loss, cost(level.count, shape), shape});
    }
  }
  const size_t whole = levels.size();
  for (size_t k = 0; !heads.keys.empty() && k < whole; ++k) {
    for (const KeyLevel& keys : heads.keys[index]) {
      Level level = levels[k];
      if (level.units == 0) break;
      level.loss +=
          keys.loss * static_cast<double>(level.units) / static_cast<double>(costs.units[index]);
      level.shape.keys = keys.keys;
      level.cost = cost(level.units, level.shape);
      levels.push_back(level);
    }
  }
  return InOrder(std::move(levels));
}

}  // namespace coppice
