#include "load/checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "load/strict_json.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kConfig = "config.json";
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;
constexpr JsonLimits kConfigLimits = {.depth = 64, .values = 100000};
constexpr JsonLimits kIndexLimits = {.depth = 16, .values = 2000000};

std::string Where(const fs::path& path) { return Printable(path.string(), 500); }

bool IsFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Weights in any format, and what we write ourselves beside a model.
bool IsPassedOn(std::string_view name) {
  constexpr std::string_view kOwn[] = {kConfig, "coppice.json", "report.html",
                                       "modeling_coppice.py"};
  constexpr std::string_view kWeights[] = {".safetensors",
                                           ".safetensors.index.json",
                                           ".h5",
                                           ".msgpack",
                                           ".onnx",
                                           ".onnx_data",
                                           ".gguf",
                                           ".pt",
                                           ".pth",
                                           ".ckpt",
                                           ".ot",
                                           ".tflite",
                                           ".npz",
                                           ".bin",
                                           ".bin.index.json"};
  if (name.starts_with('.')) return false;
  if (std::find(std::begin(kOwn), std::end(kOwn), name) != std::end(kOwn)) return false;
  return std::none_of(std::begin(kWeights), std::end(kWeights),
                      [name](std::string_view ending) { return name.ends_with(ending); });
}

// The names of the regular files in `folder`, sorted; links are followed.
std::vector<std::string> FileNames(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsFile(entry->path())) names.push_back(entry->path().filename().string());
  }
  if (error) {
    ThrowBadInput({.what = "cannot read the folder: " + error.message(), .where = Where(folder)});
  }
  std::sort(names.begin(), names.end());
  return names;
}

void CheckFolder(const fs::path& folder) {
  constexpr const char* kHint = "give a Hugging Face folder: config.json and model.safetensors";
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) {
    ThrowBadInput({.what = "no such folder", .where = Where(folder), .hint = kHint});
  }
  if (!fs::is_directory(folder, ignored)) {
    ThrowBadInput({.what = "not a folder", .where = Where(folder), .hint = kHint});
  }
  if (!IsFile(folder / kConfig)) {
    ThrowBadInput({.what = "the folder has no config.json", .where = Where(folder), .hint = kHint});
  }
}

[[noreturn]] void ThrowNoWeights(const fs::path& folder, const std::vector<std::string>& names) {
  Problem problem = {.what = "the folder has no weights that can be read",
                     .where = Where(folder),
                     .expected = fmt::format("{} or {}", kSingle, kIndex)};
  for (const std::string& name : names) {
    if (IsPassedOn(name) || name == kConfig || name.starts_with('.')) continue;
    problem.found = Printable(name);
    if (name.ends_with(".safetensors")) {
      problem.hint = fmt::format("rename a lone file to {}; shards need their index", kSingle);
      break;  // the better advice
    }
    if (name.find(".onnx") != std::string::npos) {
      problem.hint = "ONNX files are written, not read; name the model that it was written from";
      continue;
    }
    problem.hint =
        "load it in transformers and call save_pretrained(FOLDER, safe_serialization=True)";
  }
  ThrowBadInput(problem);
}

// A name from the index that may be joined to the folder: no way out of it.
void CheckShardName(const std::string& shard, const std::string& tensor, const fs::path& index) {
  const bool control = std::any_of(shard.begin(), shard.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (control || shard.find_first_of("/\\") != std::string::npos ||
      shard.find("..") != std::string::npos || !shard.ends_with(".safetensors")) {
    ThrowBadInput({.what = fmt::format("unsafe file name for tensor \"{}\"", Printable(tensor)),
                   .where = Where(index),
                   .expected = "the plain name of a .safetensors file in the same folder",
                   .found = fmt::format("\"{}\"", Printable(shard))});
  }
}

// shard -> the names mapped to it.
std::map<std::string, std::vector<std::string>> ReadIndex(const fs::path& index) {
  const json parsed =
      ParseStrictJson<json>(ReadFile(index, kMaxIndexBytes), index, "index", kIndexLimits);
  const auto map = parsed.find("weight_map");
  if (map == parsed.end() || !map->is_object() || map->empty()) {
    ThrowBadInput({.what = "bad \"weight_map\"",
                   .where = Where(index),
                   .expected = "an object: tensor to file name",
                   .found = map == parsed.end() ? "none"
                            : map->is_object()  ? "an empty one"
                                                : map->type_name()});
  }
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      ThrowBadInput({.what = fmt::format("bad file name for tensor \"{}\"", Printable(tensor)),
                     .where = Where(index),
                     .expected = "a string",
                     .found = shard.type_name()});
    }
    CheckShardName(shard.get<std::string>(), tensor, index);
    shards[shard.get<std::string>()].push_back(tensor);
  }
  return shards;
}

void LoadSingle(Checkpoint& checkpoint) {
  checkpoint.weight_files = {checkpoint.folder / kSingle};
  const SafetensorsFile file = SafetensorsFile::Open(checkpoint.weight_files[0]);
  for (const auto& [name, info] : file.tensors()) checkpoint.tensors.emplace(name, file.Get(name));
}

void LoadShards(Checkpoint& checkpoint) {
  const fs::path index = checkpoint.folder / kIndex;
  std::map<std::string, fs::path> unmapped;  // tensor -> a shard that holds it
  for (const auto& [shard, names] : ReadIndex(index)) {
    const fs::path path = checkpoint.folder / shard;
    if (!IsFile(path)) {
      ThrowBadInput({.what = "a shard is missing",
                     .where = Where(index),
                     .expected = Printable(shard),
                     .found = "no such file",
                     .hint = "fetch the rest of the checkpoint"});
    }
    const SafetensorsFile file = SafetensorsFile::Open(path);
    for (const std::string& name : names) {
      if (!file.tensors().contains(name)) {
        ThrowBadInput({.what = fmt::format("tensor \"{}\" is not in its shard", Printable(name)),
                       .where = Where(index),
                       .expected = fmt::format("it in {}", Printable(shard)),
                       .found = fmt::format("{} other tensors", file.tensors().size())});
      }
      checkpoint.tensors.emplace(name, file.Get(name));
    }
    for (const auto& [name, info] : file.tensors()) unmapped.emplace(name, path);
    checkpoint.weight_files.push_back(path);
  }
  for (const auto& [name, shard] : unmapped) {
    if (checkpoint.tensors.contains(name)) continue;
    ThrowBadInput({.what = fmt::format("tensor \"{}\" is not in the index", Printable(name)),
                   .where = Where(shard),
                   .expected = fmt::format("every tensor mapped by {}", kIndex),
                   .hint = "index and shards do not belong together: fetch both again"});
  }
}

}  // namespace

Checkpoint LoadCheckpoint(const fs::path& folder) {
  CheckFolder(folder);
  Checkpoint checkpoint;
  checkpoint.folder = folder;
  checkpoint.config = ParseStrictJson<ordered_json>(ReadFile(folder / kConfig, kMaxConfigBytes),
                                                    folder / kConfig, "config", kConfigLimits);
  const std::vector<std::string> names = FileNames(folder);
  for (const std::string& name : names) {
    if (IsPassedOn(name)) checkpoint.passthrough.push_back(folder / name);
  }
  if (IsFile(folder / kSingle)) {
    LoadSingle(checkpoint);
  } else if (IsFile(folder / kIndex)) {
    LoadShards(checkpoint);
  } else {
    ThrowNoWeights(folder, names);
  }
  return checkpoint;
}

}  // namespace coppice
