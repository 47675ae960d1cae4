// Tables that were measured, kept on disk: a search with another budget or method needs no new one.
//
// A file's key says what its table holds for: runtime and its version, processor, threads, dtype,
// batch, tokens and the model's shape. A file with another key is not used.
#pragma once

#include <filesystem>
#include <optional>

#include "latency/table.h"

namespace coppice {

nlohmann::ordered_json LatencyKey(const ModelSpec& spec, const LatencySetting& setting);

// The file of a key in the user's cache: $XDG_CACHE_HOME/coppice or ~/.cache/coppice. Empty where
// there is neither.
std::filesystem::path CachedTableFile(const nlohmann::ordered_json& key);

nlohmann::ordered_json TableToJson(const LatencyTable& table);

// Nothing where there is no such file, where it is of another key, or where it is no table.
std::optional<LatencyTable> ReadTable(const std::filesystem::path& file,
                                      const nlohmann::ordered_json& key);

// Makes the folder where it is missing. Throws Error (kEnvironment).
void WriteTable(const std::filesystem::path& file, const LatencyTable& table);

}  // namespace coppice
