#include "eval/run_onnx.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
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

// What the script says, or why it says nothing.
struct Answer {
  std::string runtime, failure;
  Json json;
};

Answer Ask(const std::filesystem::path& file, const Json& request) {
  ProgramResult result;
  try {
    result = RunProgram({PythonProgram(), "-c", std::string(kRunOnnxScript), file.string()},
                        request.dump());
  } catch (const Error& error) {  // a run that is done is not thrown away for a check
    return {"onnxruntime", Printable(error.what(), 300), {}};
  }
  if (result.code == kNoProgram || result.code == kNoRuntime) return {};
  Answer answer = {"onnxruntime", {}, Json::parse(result.output, nullptr, false)};
  if (result.code != 0 || answer.json.is_discarded()) {
    answer.failure =
        Printable(result.code != 0 ? LastLine(result.errors) : "outputs that are no numbers", 300);
  } else {
    answer.runtime = answer.json.at("runtime").get<std::string>();
  }
  return answer;
}

// Names of the outputs that a task's head has.
std::vector<std::string> OutputsOf(Task task) {
  if (task == Task::kNone) return {"sentence_embedding"};
  if (task == Task::kQuestionAnswering) return {"start_logits", "end_logits"};
  return {"logits"};
}

bool Has(const Json& shapes, Task task) {
  const std::vector<std::string> names = OutputsOf(task);
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return shapes.contains(name); });
}

}  // namespace

OnnxRun RunOnnx(const std::filesystem::path& file, const ModelSpec& spec, const Samples& samples,
                int threads) {
  const std::vector<Batch> batches = MakeBatches(samples, spec, kBatchTokens, at::kCPU);
  const Answer answer = Ask(file, Request(batches, threads));
  OnnxRun run = {.runtime = answer.runtime, .failure = answer.failure, .outputs = {}};
  if (run.runtime.empty() || !run.failure.empty()) return run;
  if (!Has(answer.json.at("shapes"), spec.task)) {
    run.failure = fmt::format("no output \"{}\"", OutputsOf(spec.task).front());
    return run;
  }
  if (const Json& shape = answer.json.at("shapes").at(OutputsOf(spec.task).front());
      OutputsOf(spec.task).front() == "logits" && shape.size() == 2 && shape[1].is_number() &&
      shape[1] != spec.labels) {
    run.failure = fmt::format("{} logits, not {}", shape[1].get<int64_t>(), spec.labels);
    return run;
  }
  run.outputs.resize(samples.samples.size());
  for (size_t i = 0; i < batches.size(); ++i) {
    for (size_t row = 0; row < batches[i].samples.size(); ++row) {
      const auto sample = static_cast<size_t>(batches[i].samples[row]);
      run.outputs[sample] = RowOutput(answer.json.at("outputs").at(i), spec.task, row,
                                      samples.samples[sample].tokens());
    }
  }
  return run;
}

OnnxDescription DescribeOnnx(const std::filesystem::path& file) {
  const Answer answer = Ask(file, Request({}, 1));
  OnnxDescription description = {answer.runtime, answer.failure, Task::kNone, 0};
  if (description.runtime.empty() || !description.failure.empty()) return description;
  const Json& shapes = answer.json.at("shapes");
  if (Has(shapes, Task::kQuestionAnswering)) {
    description.task = Task::kQuestionAnswering;
    description.labels = 2;
  } else if (Has(shapes, Task::kClassification)) {
    const Json& shape = shapes.at("logits");
    if (shape.size() == 2 && shape[1].is_number()) description.labels = shape[1].get<int64_t>();
    description.task = description.labels == 1 ? Task::kRegression : Task::kClassification;
    if (description.labels == 0) description.failure = "logits of no known number of labels";
  } else if (!Has(shapes, Task::kNone)) {
    description.failure = "no output that is known: logits, start_logits, sentence_embedding";
  }
  return description;
}

}  // namespace coppice
