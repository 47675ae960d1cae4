#include "pipeline/contest.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <utility>
#include <vector>

#include "model/at_once.h"
#include "model/beside.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

// One way to repair one plan, and what it comes to.
struct Entry {
  const ObsPlan* plan = nullptr;
  const std::vector<HeadBasis>* bases = nullptr;
  TuneOptions tune;
};

Repaired RepairEntry(const Model& model, const Network& dense, const FitSamples& samples,
                     const Entry& entry, const Console& console, Progress* progress = nullptr) {
  Repaired repaired;
  const Plan& plan = entry.plan->plan;
  TuneOptions tune = entry.tune;
  tune.progress = progress;
  repaired.shrunk = Shrink(InBasis(model, plan, *entry.bases), plan, dense.compute.memory);
  repaired.result = Tune(dense, repaired.shrunk, samples, tune, console);
  return repaired;
}

// Repairs what competes on a part of the samples and measures it on the held-out ones; the nearest
// to the dense model stays. First the plans, then what can be done to the best of them.
struct Contest {
  const Model& model;
  const Network& dense;
  const FitSamples& samples;
  const Console& console;
  std::vector<Trial>* trials;
  Entry best;
  bool whole;         // the samples are all there are: the best is what is wanted
  Repaired repaired;  // the best, where it is

  // Side by side, but where matrices stream: there is room for one. On a GPU each alone is bound by
  // the launching of kernels, on few threads of a CPU by what is done on one of them.
  void Try(const std::vector<Entry>& entries) {
    const auto count = static_cast<int64_t>(entries.size());
    const bool on_cpu = dense.compute.device.is_cpu();
    const int64_t threads = AtOnce(dense.compute);
    if (dense.streamed || count == 1 || (on_cpu && (threads == 1 || threads > count))) {
      for (const Entry& entry : entries)
        Judge(entry, RepairEntry(model, dense, samples, entry, console));
      return;
    }
    std::vector<Repaired> repairs(entries.size());
    {
      Progress progress(console, "trials", count * static_cast<int64_t>(dense.sub_layers.size()));
      const auto repair = [&](int64_t k) {
        const auto at = static_cast<size_t>(k);
        repairs[at] = RepairEntry(model, dense, samples, entries[at], console, &progress);
      };
      std::vector<std::future<void>> beside;
      if (on_cpu) ForEachAtOnce(dense.compute, count, repair);
      for (int64_t k = 0; k < count && !on_cpu; ++k)
        beside.push_back(Beside(dense.compute, [&repair, k] { repair(k); }));
      for (std::future<void>& one : beside) one.get();
    }
    for (size_t k = 0; k < entries.size(); ++k) Judge(entries[k], std::move(repairs[k]));
  }

  void Judge(const Entry& entry, Repaired tried) {
    const Divergence divergence = tried.result.held_out.value_or(Divergence{});
    console.Note(fmt::format("  widths by {}, target {}{}: {:.5f} nats on held-out samples",
                             entry.plan->name, TargetName(entry.tune.target),
                             entry.tune.align ? ", aligned" : "", divergence.mean()));
    const auto chosen = std::find_if(trials->begin(), trials->end(),
                                     [](const Trial& trial) { return trial.chosen; });
    const bool better = chosen == trials->end() || !std::isfinite(chosen->divergence.mean()) ||
                        divergence.mean() < chosen->divergence.mean();
    if (better) {
      best = entry;
      if (whole) repaired = std::move(tried);
      if (chosen != trials->end()) chosen->chosen = false;
    }
    trials->push_back({entry.plan->name, TargetName(entry.tune.target), entry.tune.align,
                       entry.plan->loss, divergence, better});
  }
};

// A share of the samples, for trials: an eighth, more where that is few tokens. What a GPU takes
// for few, it repairs in the time of launches: trials of all spare another repair then.
Samples TrialSamples(const Samples& samples, const Network& dense) {
  constexpr int64_t kShare = 8, kFewTokens = 3072, kFewOnGpu = 49152;
  Samples rest = samples;
  const bool bound_by_launches = dense.compute.device.is_cuda() && !dense.streamed;
  const int64_t few = bound_by_launches ? kFewOnGpu : kFewTokens;
  const int64_t share =
      std::min({kShare, samples.tokens() / few, static_cast<int64_t>(samples.samples.size())});
  return share > 1 ? TakeEvery(share, &rest) : rest;
}

}  // namespace

Repaired RunContest(const Model& model, const Network& dense, const FitSamples& samples,
                    const ObsPlans& all, TuneOptions tune, const std::string& align,
                    const Console& console, PruneReport* report) {
  const std::vector<ObsPlan>& plans = all.plans;
  // Only what makes up for the layers before has two streams to align, and with the dense model's
  // inputs no outputs to judge by.
  const bool has_drift = tune.target == Target::kDrift;
  const bool choose_align = has_drift && align == "best";
  tune.align = has_drift && align != "no";
  Entry entry = {&plans.front(), &all.bases, tune};
  const bool choose = tune.target != Target::kDense && (plans.size() > 1 || choose_align);
  if (choose && !samples.held_out.samples.empty()) {
    const Samples part = TrialSamples(samples.fitted, dense);
    const bool whole = part.samples.size() == samples.fitted.samples.size();
    Contest contest{model, dense, {part, samples.held_out}, console, &report->trials, {},
                    whole, {}};
    TuneOptions tried = tune;
    if (!whole) {  // without what helps all plans alike
      tried.inner_steps = 0;
      tried.align = choose_align;
      tried.tokens_per_input = 0;  // the drift's target alone
    }
    std::vector<Entry> entries;
    entries.reserve(plans.size());
    for (const ObsPlan& plan : plans) entries.push_back({&plan, &all.bases, tried});
    contest.Try(entries);
    if (choose_align) {
      Entry other = contest.best;
      other.tune.align = !other.tune.align;
      contest.Try({other});
    }
    entry = contest.best;
    const bool aligned = choose_align ? entry.tune.align : tune.align;
    entry.tune = tune;
    entry.tune.align = aligned;
    if (whole) {
      report->plan = entry.plan->plan;
      report->held_out_divergence = contest.repaired.result.held_out;
      return std::move(contest.repaired);
    }
  }
  report->plan = entry.plan->plan;
  Repaired repaired = RepairEntry(model, dense, samples, entry, console);
  report->held_out_divergence = repaired.result.held_out;
  return repaired;
}

}  // namespace coppice
