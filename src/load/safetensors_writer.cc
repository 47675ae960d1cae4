#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "load/mapped_tensor.h"
#include "load/safetensors.h"
#include "load/safetensors_dtype.h"
#include "load/safetensors_header.h"

namespace coppice {
namespace {

using Row = std::map<std::string, at::Tensor>::value_type;

const SafetensorsDtype& DtypeOf(const Row& row) {
  const SafetensorsDtype* dtype = FindSafetensorsDtype(row.second.scalar_type());
  Check(dtype != nullptr, "WriteSafetensors: a dtype without a name in the format: " + row.first);
  return *dtype;
}

std::vector<const Row*> FileOrder(const std::map<std::string, at::Tensor>& tensors) {
  std::vector<const Row*> rows;
  for (const Row& row : tensors) {
    Check(row.second.defined() && row.second.layout() == at::kStrided,
          "WriteSafetensors: not a dense tensor: " + row.first);
    rows.push_back(&row);
  }
  // Stable: names are sorted already.
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row* a, const Row* b) { return DtypeOf(*a).bits > DtypeOf(*b).bits; });
  return rows;
}

// The length and the JSON text, written by hand: an ordered_json would search all keys for each new
// one.
std::string Header(const std::vector<const Row*>& rows,
                   std::map<std::string, std::string> metadata) {
  metadata["format"] = "pt";  // transformers refuses files with another one
  std::string text = fmt::format("{{\"__metadata__\":{}", nlohmann::json(metadata).dump());
  uint64_t begin = 0;
  for (const Row* row : rows) {
    const auto& [name, tensor] = *row;
    Check(name != "__metadata__", "WriteSafetensors: a tensor with the metadata's name");
    const uint64_t end = begin + tensor.nbytes();
    text += fmt::format(",{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        nlohmann::json(name).dump(), DtypeOf(*row).name,
                        fmt::join(tensor.sizes(), ","), begin, end);
    begin = end;
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  Check(length <= kMaxHeaderBytes, "WriteSafetensors: the header is too long");
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

}  // namespace

void WriteSafetensors(const std::filesystem::path& file,
                      const std::map<std::string, at::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  const std::vector<const Row*> rows = FileOrder(tensors);
  AtomicFile out(file);
  out.Write(Header(rows, metadata));
  for (const Row* row : rows) {
    const at::Tensor whole = row->second.detach().cpu().contiguous();  // a copy only where needed
    out.Write(whole.const_data_ptr(), whole.nbytes());
    DropPages(row->second);  // what lives in a file need not stay in memory
  }
  out.Commit();
}

}  // namespace coppice
