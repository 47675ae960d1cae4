// The stages of pruning on models of published sizes, some layers deep, and random tokens.
#include <ATen/ATen.h>

#include <algorithm>
#include <memory>

#include "core/random.h"
#include "eval/run_model.h"
#include "score/mask_gradients.h"
#include "score/replacement.h"
#include "score/statistics.h"
#include "shrink/shrink.h"
#include "tune/tune.h"
#include "work.h"

namespace coppice {
namespace {

const Console kQuiet(true);

// What the benchmarks of one model share; made when the first of them runs.
struct Subject {
  std::filesystem::path folder;
  Compute compute;
  Model model;
  Network net;
  Samples samples;
  bool loaded = false;

  void Load() {
    if (loaded) return;
    model = LoadModel(folder);
    net = Bind(model, compute);
    Draw();
    loaded = true;
  }

  // Encoders: sentences of 8 to 42 tokens; language models: windows of 512.
  void Draw() {
    const bool language = net.spec.task == Task::kLanguageModel;
    const int64_t scale = compute.device.is_cpu() ? 1 : 16;
    const int64_t count = scale * (language ? 4 : 512);
    Random random(0);
    samples.labelled = true;
    for (int64_t i = 0; i < count; ++i) {
      Sample sample;
      const int64_t length = language ? 512 : 8 + i % 35;
      for (int64_t t = 0; t < length; ++t) {
        const auto id = static_cast<int32_t>(random.Below(net.spec.vocabulary - 1));
        sample.encoding.ids.push_back(id >= net.spec.pad_id ? id + 1 : id);
      }
      sample.encoding.type_ids.resize(sample.encoding.ids.size());
      sample.label = static_cast<double>(i % 2);
      samples.samples.push_back(std::move(sample));
    }
  }

  int64_t batch_tokens() const { return UsualBatchTokens(compute.device); }
  size_t depth() const { return net.sub_layers.size(); }
};

using SubjectPtr = std::shared_ptr<Subject>;

// Of a language model's output matrix; other heads are too small to count.
Work HeadWork(const Subject& subject, double tokens) {
  Work work;
  if (subject.net.output.defined())
    work.AddProducts(subject.compute.dtype,
                     2 * tokens * static_cast<double>(subject.net.output.numel()));
  return work;
}

void BenchForward(Subject& subject, benchmark::State& state) {
  Measure(state, subject.compute.device, [&] { RunModel(subject.net, subject.samples, kQuiet); });
  Work work = ForwardWork(subject.net, subject.samples, 0, subject.depth());
  work += HeadWork(subject, static_cast<double>(subject.samples.tokens()));
  Report(state, work);
}

// A pass backward by the activations alone is another pass forward, attention two.
void BenchGradients(Subject& subject, bool curvature, benchmark::State& state) {
  MaskGradientOptions options;
  options.curvature = curvature;
  options.batch_tokens = subject.batch_tokens();
  Measure(state, subject.compute.device,
          [&] { ComputeMaskGradients(subject.net, subject.samples, options, kQuiet); });
  const int64_t tokens = subject.samples.tokens();
  Work work;
  for (int pass = 0; pass < 2; ++pass) {
    work += ForwardWork(subject.net, subject.samples, 0, subject.depth());
    work += HeadWork(subject, static_cast<double>(tokens));
  }
  for (const SubLayer& sub : subject.net.sub_layers) {
    if (!curvature) break;
    work.AddProducts(subject.compute.dtype, GramOperations(tokens, sub.units * sub.width) +
                                                GramOperations(tokens, subject.net.spec.width));
  }
  Report(state, work);
}

void BenchStatistics(Subject& subject, benchmark::State& state) {
  Measure(state, subject.compute.device, [&] {
    VisitSubLayers(subject.net, subject.samples, StatisticsKind::kFull, kQuiet,
                   [](size_t, const UnitStatistics&) {});
  });
  Work work = ForwardWork(subject.net, subject.samples, 0, subject.depth());
  for (const SubLayer& sub : subject.net.sub_layers)
    work.AddProducts(subject.compute.dtype,
                     GramOperations(subject.samples.tokens(), sub.units * sub.width));
  Report(state, work);
}

// Four smaller projections of every sub-layer, each with the pass through all that follow.
void BenchLevels(Subject& subject, benchmark::State& state) {
  constexpr int64_t kLevels = 4;
  const Network& net = subject.net;
  std::vector<std::vector<Replacement>> replacements;
  for (const SubLayer& sub : net.sub_layers) {
    replacements.emplace_back();
    for (int64_t level = 0; level < kLevels; ++level) {
      const int64_t inputs = sub.units * level / kLevels * sub.width;
      replacements.back().push_back(
          {at::arange(inputs, at::TensorOptions(at::kLong).device(subject.compute.device)),
           {sub.out.weight.slice(1, 0, inputs).contiguous(), sub.out.bias}});
    }
  }
  Measure(state, subject.compute.device,
          [&] { MeasureReplacements(net, subject.samples, replacements, {}, kQuiet); });
  const auto tokens = static_cast<double>(subject.samples.tokens());
  Work work = ForwardWork(net, subject.samples, 0, subject.depth());
  for (size_t i = 0; i < subject.depth(); ++i) {
    for (int64_t level = 0; level < kLevels; ++level) {
      work += ForwardWork(net, subject.samples, i + 1, subject.depth());
      work += HeadWork(subject, tokens);
    }
  }
  Report(state, work);
}

Plan HalfOf(const ModelSpec& spec) {
  Plan plan;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    plan.kept.emplace_back();
    for (int64_t unit = 0; unit < sub.units; unit += 2) plan.kept.back().push_back(unit);
  }
  return plan;
}

// Of a model cut in half, outputs refitted and inputs aligned. Solves are left out of the count.
void BenchRepair(Subject& subject, benchmark::State& state) {
  const Model shrunk = Shrink(subject.model, HalfOf(subject.model.spec));
  TuneOptions options;
  options.align = true;
  const Samples none;
  Measure(state, subject.compute.device, [&] {
    Tune(subject.net, shrunk, {subject.samples, none}, options, kQuiet);
  });
  const Network student = Bind(shrunk, subject.compute);
  const int64_t tokens = subject.samples.tokens();
  const int64_t width = subject.net.spec.width;
  Work work = ForwardWork(subject.net, subject.samples, 0, subject.depth());
  work += ForwardWork(student, subject.samples, 0, subject.depth());
  for (const SubLayer& sub : student.sub_layers) {
    const int64_t inputs = sub.units * sub.width;
    work.AddProducts(subject.compute.dtype,
                     GramOperations(tokens, inputs) + GramOperations(tokens, width));
    work.AddProducts(
        at::kFloat, CrossOperations(tokens, inputs, width) + CrossOperations(tokens, width, width));
  }
  Report(state, work);
}

// Copies of the tensors at half of their size.
void BenchShrink(Subject& subject, benchmark::State& state) {
  const Plan plan = HalfOf(subject.model.spec);
  Measure(state, at::kCPU, [&] { Shrink(subject.model, plan); });
  Work work;
  for (const SubLayerSpec& sub : subject.model.spec.sub_layers) {
    for (const Slice& slice : sub.slices) {
      const at::Tensor& tensor = subject.model.tensors.at(slice.tensor);
      work.bytes += static_cast<double>(tensor.nbytes());  // half is read, half written
    }
  }
  Report(state, work);
}

}  // namespace

void RegisterStages(const BenchSetup& setup) {
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(setup.models)) {
    if (std::filesystem::exists(entry.path() / "config.json")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  for (const std::filesystem::path& folder : folders) {
    const auto subject = std::make_shared<Subject>();
    subject->folder = folder;
    subject->compute = setup.compute;
    const auto add = [&](const std::string& stage, auto body) {
      benchmark::RegisterBenchmark(("stage/" + stage + "/" + folder.filename().string()).c_str(),
                                   [subject, body](benchmark::State& state) {
                                     subject->Load();
                                     body(*subject, state);
                                   });
    };
    add("forward", BenchForward);
    add("gradients", [](Subject& s, benchmark::State& t) { BenchGradients(s, false, t); });
    add("gradients_curvature", [](Subject& s, benchmark::State& t) { BenchGradients(s, true, t); });
    add("statistics", BenchStatistics);
    add("levels", BenchLevels);
    add("repair", BenchRepair);
    add("shrink", BenchShrink);
  }
}

}  // namespace coppice
