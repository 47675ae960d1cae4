#include "latency/table_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/file.h"
#include "model/device.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

std::string ProcessorName() {
  std::ifstream info("/proc/cpuinfo");
  std::string parts;
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.starts_with("model name")) return line.substr(colon + 2);
    // Of Arm, which has no name there.
    if (line.starts_with("CPU implementer") || line.starts_with("CPU part"))
      parts.append(1, ' ').append(line, colon + 2);
    if (line.starts_with("CPU revision")) break;  // the first processor's last line
  }
  return parts.empty() ? "unknown" : fmt::format("Arm{}", parts);
}

// "cpu", "cuda:0 NVIDIA H200"
std::string DeviceAndModel(const Compute& compute) {
  const std::string model = DeviceModel(compute);
  return model.empty() ? DeviceName(compute) : fmt::format("{} {}", DeviceName(compute), model);
}

Json CurveJson(const LatencyCurve& curve) { return {{"units", curve.units}, {"ms", curve.ms}}; }

// Throws what nlohmann::json throws, or nothing that is not a curve.
std::optional<LatencyCurve> CurveFrom(const Json& json) {
  LatencyCurve curve{json.at("units").get<std::vector<int64_t>>(),
                     json.at("ms").get<std::vector<double>>()};
  const bool finite = std::all_of(curve.ms.begin(), curve.ms.end(),
                                  [](double ms) { return ms >= 0 && std::isfinite(ms); });
  if (!finite || curve.units.empty() || curve.units.size() != curve.ms.size() ||
      curve.units.front() != 0 || curve.ms.front() != 0 ||
      !std::is_sorted(curve.ms.begin(), curve.ms.end()) ||
      std::adjacent_find(curve.units.begin(), curve.units.end(), std::greater_equal<>()) !=
          curve.units.end())
    return std::nullopt;
  return curve;
}

std::optional<LatencyTable> TableFrom(const Json& json) {
  LatencyTable table;
  const std::optional<LatencyCurve> attention = CurveFrom(json.at("attention"));
  const std::optional<LatencyCurve> feed_forward = CurveFrom(json.at("feed_forward"));
  table.fixed_ms = json.at("fixed_ms").get<double>();
  table.dense_ms = json.at("dense_ms").get<double>();
  table.spread = json.at("spread").get<double>();
  if (!attention || !feed_forward || !(table.fixed_ms >= 0) || !(table.dense_ms > 0) ||
      !(table.fixed_ms <= table.dense_ms) || !std::isfinite(table.dense_ms))
    return std::nullopt;
  table.attention = *attention;
  table.feed_forward = *feed_forward;
  return table;
}

}  // namespace

Json LatencyKey(const ModelSpec& spec, const LatencySetting& setting) {
  const bool here = setting.runtime == "coppice";
  Json units = Json::array();
  for (const SubLayerSpec& sub : spec.sub_layers) {
    const bool narrow = sub.kind == UnitKind::kHead && sub.key_width != spec.head_width;
    units.push_back(fmt::format("{} {} of {} x {}{}{}{}", sub.units, UnitName(sub.kind),
                                sub.queries, sub.width, sub.gate.empty() ? "" : ", gated",
                                sub.relative_bias.empty() ? "" : ", biased",
                                narrow ? fmt::format(", keys {}", sub.key_width) : ""));
  }
  return {{"runtime", RuntimeVersion(setting.runtime)},
          {"processor", ProcessorName()},
          {"device", here ? DeviceAndModel(setting.compute) : "cpu"},
          {"dtype", here ? DtypeName(setting.compute) : "float32"},
          {"operators", here                                 ? ""
                        : setting.style == OnnxStyle::kFused ? "fused"
                                                             : "plain"},
          {"threads", setting.threads},
          {"batch", setting.batch},
          {"tokens", setting.tokens},
          {"task", TaskName(spec.task)},
          {"decoder", spec.form == BlockForm::kDecoder},
          {"labels", spec.labels},
          {"vocabulary", spec.vocabulary},
          {"width", spec.width},
          {"head_width", spec.head_width},
          {"activation", static_cast<int>(spec.activation)},
          {"sub_layers", units}};
}

std::filesystem::path CachedTableFile(const Json& key) {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache != nullptr && *cache == '/') {  // the standard has others ignored
    folder = cache;
  } else if (home != nullptr && *home == '/') {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  return folder / "coppice" / ("latency-" + Sha256Hex(key.dump()).substr(0, 16) + ".json");
}

Json TableToJson(const LatencyTable& table) {
  return {{"key", table.key},
          {"attention", CurveJson(table.attention)},
          {"feed_forward", CurveJson(table.feed_forward)},
          {"fixed_ms", table.fixed_ms},
          {"dense_ms", table.dense_ms},
          {"spread", table.spread}};
}

std::optional<LatencyTable> ReadTable(const std::filesystem::path& file, const Json& key) {
  constexpr uint64_t kLargest = 1 << 20;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored) ||
      std::filesystem::file_size(file, ignored) > kLargest)
    return std::nullopt;
  const Json json = Json::parse(ReadFile(file, kLargest), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object() || json.value("key", Json()) != key)
    return std::nullopt;
  try {
    std::optional<LatencyTable> table = TableFrom(json);
    if (table) table->key = key;
    return table;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

void WriteTable(const std::filesystem::path& file, const LatencyTable& table) {
  std::error_code ignored;  // writing says what is wrong
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), ignored);
  WriteFile(file, TableToJson(table).dump(1) + "\n");
}

}  // namespace coppice
