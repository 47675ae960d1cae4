// What tests of decoders share: the models and goldens of testdata/tiny-decoders.
#pragma once

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/device.h"
#include "model/model_testing.h"
#include "model/network.h"

namespace coppice {

// A folder, a "NAME.gguf" or a "NAME.golden.json" of testdata/tiny-decoders.
inline std::filesystem::path TinyDecoderPath(const std::string& name) {
  return SourceDir() / "testdata" / "tiny-decoders" / name;
}

// Every folder, and every GGUF file with its ending, sorted.
inline std::vector<std::string> TinyDecoderNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TinyDecoderPath(""))) {
    if (entry.path().extension() != ".json") names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct TinyDecoder {
  // name: of TinyDecoderNames(); a file's golden is that of the folder of its name.
  explicit TinyDecoder(const std::string& name, at::ScalarType dtype = at::kFloat)
      : model(LoadModel(TinyDecoderPath(name))),
        net(Bind(model, {at::kCPU, dtype})),
        golden(ReadJson(TinyDecoderPath(name.substr(0, name.find('.')) + ".golden.json"))),
        cases(golden["cases"].get<std::vector<nlohmann::json>>()) {
    UseThreads(1);  // many wait for each other more than they help
  }
  // What a model of the same vocabulary makes of all cases as one batch: (real tokens, V).
  at::Tensor Logits(const Model& other, const UnitObserver& observer = {}) const {
    const Batch batch = GoldenBatch(cases, other.spec.pad_id);
    return Outputs(Bind(other, {}), batch, observer).index({batch.mask});
  }
  Model model;
  Network net;
  nlohmann::json golden;
  std::vector<nlohmann::json> cases;
};

// What a golden has of the logits: of some ids, and the sum over all. (T, ids + 1) float64.
inline at::Tensor GoldenLogits(const nlohmann::json& one) {
  std::vector<at::Tensor> rows;
  for (const nlohmann::json& row : one["logits"]) rows.push_back(Numbers(row));
  return at::cat({at::stack(rows), Numbers(one["log_sum"]).unsqueeze(1)}, 1);
}

// The same of row `row` of logits (B, T, V), cut to the case's tokens.
inline at::Tensor LogitsLike(const nlohmann::json& golden, const nlohmann::json& one,
                             const at::Tensor& logits, int64_t row) {
  const auto tokens = static_cast<int64_t>(one["ids"].size());
  const at::Tensor own = logits[row].slice(0, 0, tokens).to(at::kDouble);  // (T, V)
  const at::Tensor ids = at::tensor(golden["logits_of"].get<std::vector<int64_t>>(), at::kLong);
  return at::cat({own.index_select(1, ids), own.logsumexp({1}, true)}, 1);
}

}  // namespace coppice
