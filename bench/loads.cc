// Reading: weights from safetensors and GGUF, and text to tokens. Files are in the page cache.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "load/gguf.h"
#include "load/safetensors.h"
#include "tokenize/tokenizer.h"
#include "work.h"

namespace coppice {
namespace {

// Opens and checks the file, and copies every tensor.
template <typename File, typename Names>
double ReadAll(const std::filesystem::path& path, const Names& names) {
  const File file = File::Open(path);
  double bytes = 0;
  for (const std::string& name : names(file)) {
    const at::Tensor tensor = file.Get(name);
    benchmark::DoNotOptimize(tensor.clone().data_ptr());
    bytes += static_cast<double>(tensor.nbytes());
  }
  return bytes;
}

void BenchSafetensors(const std::filesystem::path& path, benchmark::State& state) {
  Work work;
  Measure(state, at::kCPU, [&] {
    work.bytes = ReadAll<SafetensorsFile>(path, [](const SafetensorsFile& file) {
      std::vector<std::string> names;
      for (const auto& [name, info] : file.tensors()) names.push_back(name);
      return names;
    });
  });
  Report(state, work);
}

void BenchGguf(const std::filesystem::path& path, benchmark::State& state) {
  Work work;
  Measure(state, at::kCPU, [&] {
    work.bytes = ReadAll<GgufFile>(path, [](const GgufFile& file) {
      std::vector<std::string> names;
      for (const GgufTensorInfo& info : file.tensors()) names.push_back(info.name);
      return names;
    });
  });
  Report(state, work);
}

// Sentences of mixed length; counter tokens says how many come out.
void BenchTokenizer(const std::filesystem::path& file, benchmark::State& state) {
  const Tokenizer tokenizer = Tokenizer::Load(file);
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    text += fmt::format("Sentence {} of many: the old man's river-boat isn't here, is it? ", i);
    if (i % 7 == 0) text += "Caf\u00e9s open at 10:30.\n";
  }
  size_t tokens = 0;
  Measure(state, at::kCPU, [&] { tokens = tokenizer.Tokenize(text).size(); });
  state.counters["tokens"] = static_cast<double>(tokens);
  state.counters["text_bytes"] = static_cast<double>(text.size());
}

}  // namespace

void RegisterLoads(const BenchSetup& setup) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(setup.models))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const std::filesystem::path& path : files) {
    const std::string model = path.parent_path().filename().string();
    if (path.filename() == "model.safetensors") {
      benchmark::RegisterBenchmark(("load/safetensors/" + model).c_str(),
                                   [=](benchmark::State& state) { BenchSafetensors(path, state); });
    } else if (path.extension() == ".gguf") {
      benchmark::RegisterBenchmark(("load/gguf/" + model).c_str(),
                                   [=](benchmark::State& state) { BenchGguf(path, state); });
    } else if (path.filename() == "tokenizer.json") {
      benchmark::RegisterBenchmark(("load/tokenizer/" + model).c_str(),
                                   [=](benchmark::State& state) { BenchTokenizer(path, state); });
    }
  }
}

}  // namespace coppice
