#include "model/head_widths.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace coppice {

HeadWidths ReadHeadWidths(const ConfigReader& read, int64_t layers, int64_t head_width,
                          bool rotates) {
  HeadWidths widths = {read.Widths("values", layers, head_width),
                       read.Widths("keys", layers, head_width), read.Pairs(layers, head_width / 2)};
  for (size_t i = 0; i < widths.keys.size(); ++i) {
    const auto turning = static_cast<int64_t>(widths.pairs[i].size());
    const bool all = widths.pairs[i].empty() && (!rotates || widths.keys[i] == head_width);
    if (all || (rotates && 2 * turning == widths.keys[i])) continue;
    ThrowBadInput({.what = fmt::format("\"coppice.pairs\" does not fit the keys of layer {}", i),
                   .where = read.where(),
                   .expected = rotates ? fmt::format("{} / 2 pairs", widths.keys[i]) : "none",
                   .found = fmt::to_string(turning)});
  }
  return widths;
}

void AddHeadWidths(const ModelSpec& spec, nlohmann::ordered_json* block) {
  using Json = nlohmann::ordered_json;
  Json values = Json::array(), keys = Json::array(), pairs = Json::array();
  bool narrow_values = false, narrow_keys = false, some_pairs = false;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind != UnitKind::kHead) continue;
    values.push_back(ValueWidth(sub));
    keys.push_back(sub.key_width);
    pairs.push_back(sub.pairs);
    narrow_values = narrow_values || ValueWidth(sub) != spec.head_width;
    narrow_keys = narrow_keys || sub.key_width != spec.head_width;
    some_pairs = some_pairs || !sub.pairs.empty();
  }
  if (narrow_values) (*block)["values"] = values;
  if (narrow_keys) (*block)["keys"] = keys;
  if (some_pairs) (*block)["pairs"] = pairs;
}

bool HasNarrowHeads(const ModelSpec& spec) {
  return std::any_of(spec.sub_layers.begin(), spec.sub_layers.end(), [&](const SubLayerSpec& sub) {
    return sub.kind == UnitKind::kHead && (ValueWidth(sub) != spec.head_width ||
                                           sub.key_width != spec.head_width || !sub.pairs.empty());
  });
}

}  // namespace coppice
