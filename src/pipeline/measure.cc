#include "pipeline/measure.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "core/error.h"
#include "eval/language_model.h"
#include "eval/run_model.h"
#include "eval/run_onnx.h"
#include "model/device.h"
#include "model/finite.h"
#include "model/network.h"
#include "pipeline/image_data.h"
#include "pipeline/source.h"

namespace coppice {
namespace {

// Refuses a file that was not run.
void RequireRun(const std::filesystem::path& file, const std::string& runtime,
                const std::string& failure) {
  if (runtime.empty()) {
    ThrowEnvironment({.what = "an ONNX file is run by onnxruntime, which is not at hand",
                      .where = file.string(),
                      .expected = "a Python that can import it",
                      .hint = "name one in COPPICE_PYTHON"});
  }
  if (failure.empty()) return;
  ThrowBadInput(
      {.what = "onnxruntime cannot run this as wanted", .where = file.string(), .found = failure});
}

struct Measured {
  Measurement measurement;
  std::filesystem::path path;  // as given
  std::filesystem::path onnx;  // the file that ONNX Runtime runs; empty: the network is run
  Network net;                 // of an ONNX file the spec alone
  Samples samples;
  std::vector<at::Tensor> outputs;
};

Samples ReadSamples(const ModelSpec& spec, const Tokenizer& tokenizer, const Dataset& dataset,
                    const MeasureOptions& options) {
  return DrawSamples(spec, tokenizer, dataset, {.first = options.limit}, !options.labels_optional);
}

void CountExamples(const Dataset& dataset, Measured* measured) {
  const Samples& samples = measured->samples;
  const bool answering = measured->net.spec.task == Task::kQuestionAnswering;
  measured->measurement.examples =
      static_cast<int64_t>(answering ? dataset.examples.size() : samples.samples.size());
  measured->measurement.tokens = samples.tokens();
}

// Everything but the outputs.
Measured Prepare(const std::filesystem::path& path, const Dataset& dataset,
                 const MeasureOptions& options) {
  UseThreads(options.threads);
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure);
  const Model model = LoadModel(path);
  const ModelSpec& spec = model.spec;
  Measured result;
  result.path = path;
  result.samples = spec.image.grid > 0
                       ? ReadImageSamples(spec, options.data, {.first = options.limit})
                       : ReadSamples(spec, LoadTokenizer(model), dataset, options);
  result.net = Bind(model, compute);
  CountExamples(dataset, &result);
  result.measurement.runtime = "coppice";
  result.measurement.device = DeviceName(compute);
  result.measurement.dtype = DtypeName(compute);
  return result;
}

// What an ONNX file and the folder around it say of the model.
ModelSpec SpecOfOnnx(const std::filesystem::path& file) {
  const OnnxDescription description = DescribeOnnx(file);
  RequireRun(file, description.runtime, description.failure);
  const OnnxInputs inputs = ReadOnnxInputs(file);
  if (inputs.vocabulary < 1 || inputs.max_tokens < 1) {
    ThrowBadInput({.what = "nothing says what this model reads",
                   .where = file.string(),
                   .expected = "config.json and tokenizer.json beside it",
                   .hint = "or compare it with a model that has them"});
  }
  ModelSpec spec;
  spec.task = description.task;
  spec.labels = description.labels;
  spec.vocabulary = inputs.vocabulary;
  spec.max_tokens = inputs.max_tokens;
  spec.pad_id = inputs.pad_id;
  spec.token_types = inputs.token_types;
  return spec;
}

// An ONNX file reads what `other` reads, where there is another.
Measured PrepareOnnx(const std::filesystem::path& file, const Measured* other,
                     const Dataset& dataset, const MeasureOptions& options) {
  Measured result;
  if (other != nullptr) {
    result = *other;
  } else {
    result.net.spec = SpecOfOnnx(file);
    result.samples = ReadSamples(
        result.net.spec, Tokenizer::Load(file.parent_path() / "tokenizer.json"), dataset, options);
    CountExamples(dataset, &result);
  }
  result.onnx = file;
  result.measurement.device = "cpu";
  result.measurement.dtype = "the file's";
  return result;
}

void AddMetric(const Dataset& dataset, Measured* measured) {
  if (measured->onnx.empty() && !AllFinite(measured->outputs))
    ThrowNotFinite(LoadModel(measured->path), "outputs");
  if (!measured->samples.labelled) return;
  measured->measurement.metric =
      ComputeMetric(measured->net.spec, dataset, measured->samples, measured->outputs);
}

void Run(const Dataset& dataset, const Console& console, Measured* measured) {
  const StageClock clock(&measured->measurement.seconds);
  if (measured->onnx.empty()) {
    measured->outputs = RunModel(measured->net, measured->samples, console);
  } else {
    OnnxRun run =
        RunOnnx(measured->onnx, measured->net.spec, measured->samples, at::get_num_threads());
    RequireRun(measured->onnx, run.runtime, run.failure);
    measured->outputs = std::move(run.outputs);
    measured->measurement.runtime = run.runtime;
  }
  AddMetric(dataset, measured);
}

void RequireComparable(const Measured& a, const Measured& b, const std::string& where) {
  const auto describe = [](const Measured& m) {
    return fmt::format("{} with {} labels", TaskName(m.net.spec.task), m.net.spec.labels);
  };
  if (a.net.spec.task != b.net.spec.task || a.net.spec.labels != b.net.spec.labels ||
      (a.net.spec.task == Task::kNone && a.net.spec.width != b.net.spec.width)) {
    ThrowBadInput({.what = "the models' outputs cannot be compared",
                   .where = where,
                   .expected = describe(a),
                   .found = describe(b)});
  }
  for (size_t i = 0; i < a.samples.samples.size(); ++i) {
    if (a.samples.samples[i].encoding.ids != b.samples.samples[i].encoding.ids) {
      ThrowBadInput(
          {.what = fmt::format("the models' tokenizers differ, first on example {}", i + 1),
           .where = where});
    }
  }
}

// Files say less of themselves than models.
void RequireSameShapes(const Measured& a, const Measured& b, const std::string& where) {
  for (size_t i = 0; i < a.outputs.size(); ++i) {
    if (a.outputs[i].sizes() == b.outputs[i].sizes()) continue;
    ThrowBadInput({.what = "the models' outputs cannot be compared",
                   .where = where,
                   .expected = fmt::format("{} numbers", a.outputs[i].numel()),
                   .found = fmt::to_string(b.outputs[i].numel())});
  }
}

// Both models, ready to run; an ONNX file takes its samples from the other where that is none.
std::pair<Measured, Measured> PreparePair(const std::filesystem::path& first,
                                          const std::filesystem::path& second,
                                          const Dataset& dataset, const MeasureOptions& options) {
  const std::filesystem::path one = FindOnnxFile(first), other = FindOnnxFile(second);
  if (one.empty()) {
    Measured a = Prepare(first, dataset, options);
    Measured b = other.empty() ? Prepare(second, dataset, options)
                               : PrepareOnnx(other, &a, dataset, options);
    return {std::move(a), std::move(b)};
  }
  Measured b = other.empty() ? Prepare(second, dataset, options)
                             : PrepareOnnx(other, nullptr, dataset, options);
  Measured a = PrepareOnnx(one, &b, dataset, options);
  return {std::move(a), std::move(b)};
}

// The first N windows of a language model may need any number of a file's examples.
Dataset Read(const std::filesystem::path& model, const MeasureOptions& options) {
  if (!FindOnnxFile(model).empty()) return ReadDataset(options.data, options.limit);
  const ModelSpec spec = LoadModel(model).spec;
  if (spec.image.grid > 0) return {options.data, {}};  // read as the models' own samples
  const bool language = spec.task == Task::kLanguageModel;
  return ReadDataset(options.data, language ? 0 : options.limit);
}

}  // namespace

Measurement MeasureModel(const std::filesystem::path& model, const MeasureOptions& options,
                         const Console& console) {
  const Dataset dataset = Read(model, options);
  Measured measured = Prepare(model, dataset, options);
  Run(dataset, console, &measured);
  return measured.measurement;
}

PairMeasurement MeasurePair(const std::filesystem::path& first, const std::filesystem::path& second,
                            const MeasureOptions& options, const Console& console) {
  const Dataset dataset = Read(first, options);
  auto [a, b] = PreparePair(first, second, dataset, options);
  RequireComparable(a, b, second.string());
  const Task task = a.net.spec.task;
  if (task == Task::kLanguageModel && !(a.onnx.empty() && b.onnx.empty())) {
    ThrowUsage(
        {.what = "language models are not compared with ONNX files", .where = second.string()});
  }
  if (task != Task::kLanguageModel) {
    Run(dataset, console, &a);
    Run(dataset, console, &b);
    RequireSameShapes(a, b, second.string());
    return {a.measurement, b.measurement, CompareOutputs(task, a.outputs, b.outputs)};
  }
  LanguageModelPair pair;
  {
    const StageClock clock(&a.measurement.seconds);
    pair = RunLanguageModelPair(a.net, b.net, a.samples, console);
  }
  b.measurement.seconds = a.measurement.seconds;
  a.outputs = std::move(pair.first);
  b.outputs = std::move(pair.second);
  AddMetric(dataset, &a);
  AddMetric(dataset, &b);
  return {a.measurement, b.measurement, pair.comparison};
}

}  // namespace coppice
