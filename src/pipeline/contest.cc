#include "pipeline/contest.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>

#include "shrink/shrink.h"

namespace coppice {
namespace {

// One way to repair one plan, and what it comes to.
struct Entry {
  const ObsPlan* plan = nullptr;
  TuneOptions tune;
};

Repaired RepairEntry(const Model& model, const Network& dense, const FitSamples& samples,
                     const Entry& entry, const Console& console) {
  Repaired repaired;
  repaired.shrunk = Shrink(model, entry.plan->plan);
  repaired.result = Tune(dense, repaired.shrunk, samples, entry.tune, console);
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

  void Try(const Entry& entry) {
    const Repaired repaired = RepairEntry(model, dense, samples, entry, console);
    const Divergence divergence = repaired.result.held_out.value_or(Divergence{});
    console.Note(fmt::format("  widths by {}, target {}{}: {:.5f} nats on held-out samples",
                             entry.plan->name, TargetName(entry.tune.target),
                             entry.tune.align ? ", aligned" : "", divergence.mean()));
    const auto chosen = std::find_if(trials->begin(), trials->end(),
                                     [](const Trial& trial) { return trial.chosen; });
    const bool better = chosen == trials->end() || divergence.mean() < chosen->divergence.mean();
    if (better) {
      best = entry;
      if (chosen != trials->end()) chosen->chosen = false;
    }
    trials->push_back({entry.plan->name, TargetName(entry.tune.target), entry.tune.align,
                       entry.plan->loss, divergence, better});
  }
};

// A quarter of the samples, for trials; more where that would be few tokens.
Samples TrialSamples(const Samples& samples) {
  constexpr int64_t kShare = 4, kFewTokens = 8192;
  Samples rest = samples;
  const int64_t share = std::min(kShare, samples.tokens() / kFewTokens);
  return share < 2 ? rest : TakeEvery(share, &rest);
}

}  // namespace

Repaired RunContest(const Model& model, const Network& dense, const FitSamples& samples,
                    const std::vector<ObsPlan>& plans, TuneOptions tune, const std::string& align,
                    const Console& console, PruneReport* report) {
  tune.align = align != "no";
  Entry entry = {&plans.front(), tune};
  const bool choose = plans.size() > 1 || align == "best";
  if (choose && !samples.held_out.samples.empty()) {
    const Samples part = TrialSamples(samples.fitted);
    Contest contest{model, dense, {part, samples.held_out}, console, &report->trials, {}};
    for (const ObsPlan& plan : plans) contest.Try({&plan, tune});
    if (align == "best") {
      Entry other = contest.best;
      other.tune.align = !other.tune.align;
      contest.Try(other);
    }
    entry = contest.best;
  }
  report->plan = entry.plan->plan;
  Repaired repaired = RepairEntry(model, dense, samples, entry, console);
  report->held_out_divergence = repaired.result.held_out;
  return repaired;
}

}  // namespace coppice
