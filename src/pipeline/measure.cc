#include "pipeline/measure.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "core/error.h"
#include "eval/run_model.h"
#include "model/device.h"

namespace coppice {
namespace {

struct Measured {
  Measurement measurement;
  ModelSpec spec;
  Samples samples;
  std::vector<at::Tensor> outputs;
};

Measured MeasureOne(const std::filesystem::path& folder, const Dataset& dataset,
                    const MeasureOptions& options, const Console& console) {
  UseThreads(options.threads);
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure);
  const Model model = LoadModel(folder);
  const Tokenizer tokenizer = Tokenizer::Load(folder / "tokenizer.json");
  Measured result;
  result.spec = model.spec;
  result.samples = DrawSamples(model.spec, tokenizer, dataset, {}, !options.labels_optional);
  const Network net = Bind(model, compute);
  Measurement& m = result.measurement;
  {
    const StageClock clock(&m.seconds);
    result.outputs = RunModel(net, result.samples, console);
  }
  if (result.samples.labelled)
    m.metric = ComputeMetric(model.spec, dataset, result.samples, result.outputs);
  const bool answering = model.spec.task == Task::kQuestionAnswering;
  m.examples =
      static_cast<int64_t>(answering ? dataset.examples.size() : result.samples.samples.size());
  m.tokens = result.samples.tokens();
  m.device = DeviceName(compute);
  m.dtype = DtypeName(compute);
  return result;
}

void RequireComparable(const Measured& a, const Measured& b, const std::string& where) {
  const auto describe = [](const Measured& m) {
    return fmt::format("{} with {} labels", TaskName(m.spec.task), m.spec.labels);
  };
  if (a.spec.task != b.spec.task || a.spec.labels != b.spec.labels ||
      (a.spec.task == Task::kNone && a.spec.width != b.spec.width)) {
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

}  // namespace

Measurement MeasureModel(const std::filesystem::path& model, const MeasureOptions& options,
                         const Console& console) {
  return MeasureOne(model, ReadDataset(options.data, options.limit), options, console).measurement;
}

PairMeasurement MeasurePair(const std::filesystem::path& first, const std::filesystem::path& second,
                            const MeasureOptions& options, const Console& console) {
  const Dataset dataset = ReadDataset(options.data, options.limit);
  const Measured a = MeasureOne(first, dataset, options, console);
  const Measured b = MeasureOne(second, dataset, options, console);
  RequireComparable(a, b, second.string());
  return {a.measurement, b.measurement, CompareOutputs(a.spec.task, a.outputs, b.outputs)};
}

}  // namespace coppice
