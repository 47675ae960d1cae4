#include "eval/run_onnx.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/subprocess.h"
#include "eval/run_onnx_script.h"

namespace coppice {
namespace {

using Json = nlohmann::json;

constexpr int64_t kBatchTokens = 4096;
constexpr int kNoRuntime = 69;  // of the script
constexpr int kNoProgram = 127;

Json Rows(const at::Tensor& ids) {
  Json rows = Json::array();
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const at::Tensor row = ids[i].to(at::kLong).contiguous();
    const int64_t* const numbers = row.const_data_ptr<int64_t>();
    rows.push_back(std::vector<int64_t>(numbers, numbers + row.numel()));
  }
  return rows;
}

Json Request(const std::vector<Batch>& batches, int threads) {
  Json list = Json::array();
  for (const Batch& batch : batches) {
    list.push_back({{"input_ids", Rows(batch.ids)},
                    {"attention_mask", Rows(batch.mask)},
                    {"token_type_ids", Rows(batch.type_ids)}});
  }
  return {{"threads", threads}, {"batches", list}};
}

at::Tensor Numbers(const Json& list) {
  return at::tensor(list.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
}

// Output of one row: (labels), (tokens, 2) or (D).
at::Tensor RowOutput(const Json& outputs, Task task, size_t row, int64_t tokens) {
  if (task == Task::kNone) return Numbers(outputs.at("sentence_embedding").at(row));
  if (task != Task::kQuestionAnswering) return Numbers(outputs.at("logits").at(row));
  const auto logits = [&](const char* name) {
    return Numbers(outputs.at(name).at(row)).slice(0, 0, tokens);
  };
  return at::stack({logits("start_logits"), logits("end_logits")}, 1);
}

}  // namespace

OnnxRun RunOnnx(const std::filesystem::path& file, const ModelSpec& spec, const Samples& samples,
                int threads) {
  const std::vector<Batch> batches = MakeBatches(samples, spec, kBatchTokens, at::kCPU);
  const ProgramResult result =
      RunProgram({PythonProgram(), "-c", std::string(kRunOnnxScript), file.string()},
                 Request(batches, threads).dump());
  if (result.code == kNoProgram || result.code == kNoRuntime) return {};
  OnnxRun run = {.runtime = "onnxruntime", .failure = {}, .outputs = {}};
  const Json answer = Json::parse(result.output, nullptr, /*allow_exceptions=*/false);
  if (result.code != 0 || answer.is_discarded()) {
    run.failure =
        Printable(result.code != 0 ? LastLine(result.errors) : "outputs that are no numbers", 300);
    return run;
  }
  run.runtime = answer.at("runtime").get<std::string>();
  run.outputs.resize(samples.samples.size());
  for (size_t i = 0; i < batches.size(); ++i) {
    for (size_t row = 0; row < batches[i].samples.size(); ++row) {
      const auto sample = static_cast<size_t>(batches[i].samples[row]);
      run.outputs[sample] =
          RowOutput(answer.at("outputs").at(i), spec.task, row, samples.samples[sample].tokens());
    }
  }
  return run;
}

}  // namespace coppice
