#include "score/replacement.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>

#include "calibrate/residual_stream.h"
#include "load/mapped_tensor.h"
#include "model/at_once.h"
#include "model/divergence.h"
#include "model/forward.h"
#include "model/linear.h"
#include "score/obs_sweep.h"

namespace coppice {
namespace {

// What a replacement makes of all unit inputs (M, I): (M, D) float32.
at::Tensor ProjectBy(const Replacement& one, const at::Tensor& inputs) {
  return ApplyInFloat(one.out, inputs.index_select(1, one.inputs));
}

// A model with one sub-layer replaced: replacements[sub_layer][number].
struct Variant {
  size_t sub_layer = 0, number = 0;
};

// Variants on their way through the network, one below the other in rows.
struct Group {
  std::vector<Variant> variants;
  AttentionContext context;  // of the batch as many times, packed
  ResidualStream hidden;     // (variants * M, D)
};

// The batch's texts `times` times.
Batch Repeated(const Batch& batch, int64_t times) {
  if (times == 1) return batch;
  Batch repeated = batch;
  for (at::Tensor* of_rows : {&repeated.ids, &repeated.type_ids, &repeated.mask})
    *of_rows = of_rows->repeat({times, 1});
  const at::Tensor first =
      at::arange(times, batch.real.options()).unsqueeze(1) * batch.ids.numel();  // (times, 1)
  repeated.real = (first + batch.real).flatten();
  return repeated;
}

// How many variants of a batch of so many tokens go through a sub-layer together. A GPU runs
// several of few tokens in the time of launches; the CPU does not.
size_t VariantsAtOnce(const Network& net, int64_t tokens) {
  if (net.compute.device.is_cpu()) return 1;
  return static_cast<size_t>(std::max<int64_t>(1, PackedTokens(net) / tokens));
}

// All of them on one batch.
struct Comparison {
  Batch batch;
  AttentionContext context;                 // packed
  Place place;                              // of the streams
  ResidualStream hidden;                    // (M, D) with nothing replaced but `others`
  std::optional<ResidualStream> reference;  // the dense model, where there are others
  std::vector<Group> groups = {};           // of the sub-layers so far
  bool first_only = false;                  // rows are those of each text's first token, (B, D)

  // Where the head reads the first token alone and no sub-layer from `i` on mixes tokens, the rest
  // need not go on.
  void DropOthers(const Network& net, size_t i) {
    const bool pooled =
        net.spec.task == Task::kClassification || net.spec.task == Task::kRegression;
    const bool last =
        i + 1 == net.sub_layers.size() && net.sub_layers[i].kind == UnitKind::kChannel;
    if (!pooled || !last) return;
    const auto keep = [&](ResidualStream* stream, const TextRows& texts) {
      *stream = ResidualStream(FirstOfEach(texts, stream->Get()), place);
    };
    for (Group& group : groups) keep(&group.hidden, group.context.texts);
    keep(&hidden, context.texts);
    if (reference) keep(&*reference, context.texts);
    first_only = true;
  }

  // Through sub-layer `i`. tried: its replacements; other: what it is besides, or empty.
  void Advance(const Network& net, size_t i, const SubLayer& sub,
               const std::vector<Replacement>& tried, const std::vector<Replacement>& other) {
    DropOthers(net, i);
    const auto after = [&](const at::Tensor& before, const at::Tensor& inputs) {
      return AddBranch(net, sub, before,
                       other.empty() ? Project(sub, inputs) : ProjectBy(other[0], inputs));
    };
    for (Group& group : groups) {
      const at::Tensor before = group.hidden.Get();
      group.hidden.Set(after(before, UnitInputs(net, sub, before, group.context)));
    }
    const at::Tensor before = hidden.Get();
    const at::Tensor inputs = UnitInputs(net, sub, before, context);
    std::vector<at::Tensor> rows;
    for (const Replacement& one : tried) {
      const std::optional<SubLayer>& whole = one.whole;
      const at::Tensor branch = whole ? Project(*whole, UnitInputs(net, *whole, before, context))
                                      : ProjectBy(one, inputs);
      rows.push_back(AddBranch(net, sub, before, branch));
    }
    Join(i, rows, net);
    hidden.Set(after(before, inputs));
    if (!reference) return;
    const at::Tensor dense = reference->Get();
    reference->Set(AddBranch(net, sub, dense, Project(sub, UnitInputs(net, sub, dense, context))));
  }

  // The last group takes variants of a sub-layer, whose rows are (M, D) each, as many as it has
  // room for, and new ones do.
  void Join(size_t sub_layer, const std::vector<at::Tensor>& rows, const Network& net) {
    for (size_t next = 0; next < rows.size();) {
      const size_t most = VariantsAtOnce(net, rows[next].size(0));
      const bool joins = !groups.empty() && groups.back().variants.size() < most;
      std::vector<Variant> variants;
      std::vector<at::Tensor> all;
      if (joins) {
        variants = groups.back().variants;
        all.push_back(groups.back().hidden.Get());
        groups.pop_back();
      }
      for (; next < rows.size() && variants.size() < most; ++next) {
        variants.push_back({sub_layer, next});
        all.push_back(rows[next]);
      }
      const auto times = static_cast<int64_t>(variants.size());
      const AttentionContext of_all =
          first_only || times == 1 ? context : MakePackedContext(net, Repeated(batch, times));
      groups.push_back({std::move(variants), of_all,
                        ResidualStream(all.size() == 1 ? all[0] : at::cat(all), place)});
    }
  }

  void AddDivergences(const Network& net, std::vector<std::vector<Divergence>>* sums) const {
    const auto at_end = [&](const at::Tensor& rows) {  // (B, T, D), or (B, 1, D)
      return first_only ? rows.unsqueeze(1) : Unpacked(context.texts, rows);
    };
    const Reference expected =
        ReadReference(net, at_end(reference ? reference->Get() : hidden.Get()), batch);
    for (const Group& group : groups) {
      const std::vector<at::Tensor> rows =
          group.hidden.Get().chunk(static_cast<int64_t>(group.variants.size()));
      for (size_t k = 0; k < rows.size(); ++k) {
        const Variant& variant = group.variants[k];
        (*sums)[variant.sub_layer][variant.number].Add(
            DivergenceFrom(expected, net, at_end(rows[k]), batch));
      }
    }
  }
};

std::vector<Comparison> StartComparisons(const Network& net, const std::vector<Batch>& batches,
                                         const std::vector<std::vector<Replacement>>& replacements,
                                         bool has_others) {
  int64_t streams = has_others ? 2 : 1, tokens = 0;
  for (const auto& of_sub_layer : replacements)
    streams += static_cast<int64_t>(of_sub_layer.size());
  for (const Batch& batch : batches) tokens += batch.real.numel();
  const Place place = PlaceFor(net.compute, streams * tokens * net.spec.width * 4);
  std::vector<Comparison> comparisons;
  for (const Batch& batch : batches) {
    const AttentionContext context = MakePackedContext(net, batch);
    const at::Tensor hidden = Begin(net, batch, context).exact;
    comparisons.push_back({batch, context, place, ResidualStream(hidden, place), {}});
    if (has_others) comparisons.back().reference.emplace(hidden, place);
  }
  return comparisons;
}

// Replacements that were put away, where they are computed.
std::vector<Replacement> Ready(std::vector<Replacement> replacements, const Compute& compute) {
  for (Replacement& one : replacements) {
    if (!one.whole) one.out.weight = one.out.weight.to(compute.device);
  }
  return replacements;
}

// Tokens of a batch: one text of a language model's, otherwise so few on the CPU that its threads
// have as much to do.
int64_t BatchTokens(const Network& net, const Samples& samples) {
  if (net.spec.task == Task::kLanguageModel) return 1;
  const int64_t usual = UsualBatchTokens(net.compute.device);
  const int64_t threads = AtOnce(net.compute);
  if (threads == 1) return usual;
  constexpr int64_t kLeast = 128, kPerThread = 4;
  return std::clamp(samples.tokens() / (kPerThread * threads), kLeast, usual);
}

using DivergencesOfAll = std::vector<std::vector<Divergence>>;  // of every variant

std::vector<std::vector<double>> MeansOf(const std::vector<DivergencesOfAll>& parts) {
  std::vector<std::vector<double>> means;
  if (parts.empty()) return means;
  for (size_t i = 0; i < parts[0].size(); ++i) {
    means.emplace_back();
    for (size_t k = 0; k < parts[0][i].size(); ++k) {
      Divergence sum;
      for (const DivergencesOfAll& part : parts) sum.Add(part[i][k]);
      means.back().push_back(sum.mean());
    }
  }
  return means;
}

// What all refits of a sub-layer share.
struct Target {
  at::Tensor gram;     // (I, I) float64, centred where there is a bias, damped
  at::Tensor outputs;  // (I, D) float64 gram * weight
};

at::Tensor RefitOne(const Target& target, const SubLayer& dense, const std::vector<int64_t>& kept) {
  if (kept.empty()) return target.outputs.narrow(0, 0, 0);
  const at::Tensor inputs = InputsOf(kept, dense.width, target.gram.device());
  const at::Tensor block = target.gram.index_select(0, inputs).index_select(1, inputs);  // (k, k)
  return at::cholesky_solve(target.outputs.index_select(0, inputs),
                            at::linalg_cholesky(block));  // (k, D)
}

}  // namespace

Replacement ReplacementBy(const at::Tensor& refitted, const std::vector<int64_t>& kept,
                          const Curvature& curvature, const SubLayer& dense) {
  Replacement result;
  result.inputs = InputsOf(kept, dense.width, refitted.device());
  result.out.weight = refitted.t().to(dense.out.weight.scalar_type()).contiguous();
  if (!dense.out.bias.defined()) return result;
  const at::Tensor mean = curvature.InputMean();                                  // (I)
  const at::Tensor weight = dense.out.weight.to(refitted.device(), at::kDouble);  // (D, I)
  const at::Tensor shift =
      at::mv(weight, mean) - at::mv(refitted.t(), mean.index_select(0, result.inputs));
  result.out.bias = (dense.out.bias.to(at::kDouble) + shift).to(dense.out.bias.scalar_type());
  return result;
}

// Inputs backwards: the same outputs, added up in another order, as a refit adds up others.
Replacement Whole(const SubLayer& dense) {
  const int64_t inputs = dense.units * dense.width;
  Replacement same = {at::arange(inputs - 1, -1, -1,
                                 at::TensorOptions(at::kLong).device(dense.out.weight.device())),
                      dense.out};
  same.out.weight = dense.out.weight.flip(1);
  return same;
}

std::vector<Replacement> Refit(const Curvature& curvature, const SubLayer& dense,
                               const std::vector<std::vector<int64_t>>& kept, double damping) {
  if (kept.empty() || dense.units == 0) return std::vector<Replacement>(kept.size(), Whole(dense));
  Target target;
  target.gram = curvature.InputGram(dense.out.bias.defined());
  target.gram.diagonal().add_(damping * target.gram.diagonal().mean());
  target.outputs = at::mm(target.gram, dense.out.weight.to(target.gram.device(), at::kDouble).t());
  std::vector<Replacement> refits;
  refits.reserve(kept.size());
  for (const std::vector<int64_t>& units : kept)
    refits.push_back(ReplacementBy(RefitOne(target, dense, units), units, curvature, dense));
  return refits;
}

Replacement PutAway(const Replacement& one) {
  Replacement away = one;
  away.out.weight = one.out.weight.is_cpu() ? InFile(one.out.weight) : one.out.weight.to(at::kCPU);
  return away;
}

std::vector<std::vector<double>> MeasureReplacements(
    const Network& net, const Samples& samples,
    const std::vector<std::vector<Replacement>>& replacements,
    const std::vector<Replacement>& others, const Console& console) {
  at::NoGradGuard no_gradients;
  const size_t count = net.sub_layers.size();
  const std::vector<Batch> batches =
      MakeBatches(samples, net.spec, BatchTokens(net, samples), net.compute.device);
  // All batches together where the network streams, otherwise each by itself.
  const size_t each = net.streamed ? batches.size() : 1;
  std::vector<DivergencesOfAll> parts((batches.size() + each - 1) / each);
  Progress progress(console, "levels", static_cast<int64_t>(parts.size() * count));
  ForEachAtOnce(net.compute, static_cast<int64_t>(parts.size()), [&](int64_t part) {
    const auto first = batches.begin() + part * static_cast<std::ptrdiff_t>(each);
    std::vector<Comparison> comparisons = StartComparisons(
        net, {first, first + static_cast<std::ptrdiff_t>(each)}, replacements, !others.empty());
    for (size_t i = 0; i < count; ++i) {
      const Fetched sub = Fetch(net, i);
      Prefetch(net, i + 1);
      const std::vector<Replacement> tried = Ready(replacements[i], net.compute);
      const std::vector<Replacement> other =
          others.empty() ? std::vector<Replacement>() : Ready({others[i]}, net.compute);
      for (Comparison& one : comparisons) one.Advance(net, i, *sub, tried, other);
      for (const Replacement& one : tried) {
        if (net.streamed && !one.whole) DropPages(one.out.weight);
      }
      progress.Step();
    }
    DivergencesOfAll& sums = parts[static_cast<size_t>(part)];
    for (const std::vector<Replacement>& of_sub_layer : replacements)
      sums.emplace_back(of_sub_layer.size());
    for (const Comparison& one : comparisons) one.AddDivergences(net, &sums);
  });
  return MeansOf(parts);
}

}  // namespace coppice
