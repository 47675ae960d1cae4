#include "pipeline/measure.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "core/error.h"
#include "eval/language_model.h"
#include "eval/run_model.h"
#include "model/device.h"
#include "model/network.h"
#include "pipeline/image_data.h"
#include "pipeline/source.h"

namespace coppice {
namespace {

struct Measured {
  Measurement measurement;
  Network net;
  Samples samples;
  std::vector<at::Tensor> outputs;
};

// Everything but the outputs.
Measured Prepare(const std::filesystem::path& path, const Dataset& dataset,
                 const MeasureOptions& options) {
  UseThreads(options.threads);
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure);
  const Model model = LoadModel(path);
  const ModelSpec& spec = model.spec;
  Measured result;
  result.samples = spec.image.grid > 0
                       ? ReadImageSamples(spec, options.data, {.first = options.limit})
                       : DrawSamples(spec, LoadTokenizer(model), dataset, {.first = options.limit},
                                     !options.labels_optional);
  result.net = Bind(model, compute);
  Measurement& m = result.measurement;
  const bool answering = spec.task == Task::kQuestionAnswering;
  m.examples =
      static_cast<int64_t>(answering ? dataset.examples.size() : result.samples.samples.size());
  m.tokens = result.samples.tokens();
  m.device = DeviceName(compute);
  m.dtype = DtypeName(compute);
  return result;
}

void AddMetric(const Dataset& dataset, Measured* measured) {
  if (!measured->samples.labelled) return;
  measured->measurement.metric =
      ComputeMetric(measured->net.spec, dataset, measured->samples, measured->outputs);
}

void Run(const Dataset& dataset, const Console& console, Measured* measured) {
  const StageClock clock(&measured->measurement.seconds);
  measured->outputs = RunModel(measured->net, measured->samples, console);
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

// The first N windows of a language model may need any number of a file's examples.
Dataset Read(const std::filesystem::path& model, const MeasureOptions& options) {
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
  Measured a = Prepare(first, dataset, options);
  Measured b = Prepare(second, dataset, options);
  RequireComparable(a, b, second.string());
  const Task task = a.net.spec.task;
  if (task != Task::kLanguageModel) {
    Run(dataset, console, &a);
    Run(dataset, console, &b);
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
