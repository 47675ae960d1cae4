#include "score/mask_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "calibrate/residual_stream.h"
#include "model/at_once.h"
#include "model/forward.h"
#include "model/unit_sums.h"
#include "score/loss_gradient.h"

namespace coppice {
namespace {

// (B, units): SumsOfProducts() over whole texts whose rows are packed. Both factors are rounded to
// the compute dtype already, and so are their products.
at::Tensor SumOverTexts(const SubLayer& sub, const at::Tensor& inputs, const at::Tensor& gradient,
                        const TextRows& texts) {
  const at::Tensor product = inputs * gradient;  // (M, units * width)
  const at::Tensor of_rows =
      product.view({product.size(0), sub.units, sub.width}).sum(2, false, at::kFloat);
  return Unpacked(texts, of_rows).sum(1);  // in the same order every time
}

// Where the rows of samples stand, `each` rows a sample of which `present` are filled. Made where
// the samples' numbers are: an upload would wait for all that the device has been asked.
at::Tensor RowsOf(const at::Tensor& samples, int64_t each, int64_t present) {
  if (each == 1) return samples;
  return (samples.unsqueeze(1) * each + at::arange(present, samples.options()).unsqueeze(0))
      .flatten();
}

// A segment's forward pass; its rows are (B, T, n) or packed, (M, n).
struct Pass {
  Hidden hidden;                   // (..., D) at its end
  std::vector<at::Tensor> inputs;  // X of the sub-layers that have units
  // By what gradients are asked: X, or masks (B, units) where they give it by these.
  std::vector<at::Tensor> units;
  std::vector<at::Tensor> outputs;  // (..., D) what projections make of X, or leaves in their place
  std::vector<size_t> owner;        // which of the segment's sub-layers each is of
};

// Leaves of autograd of any shape, for gradients by what is never made.
class Leaves {
 public:
  explicit Leaves(const at::Tensor& like) : one_(at::ones({1}, like.options().dtype(at::kFloat))) {}

  at::Tensor Make(at::IntArrayRef shape) const {
    return one_.expand(shape).detach().requires_grad_();
  }

 private:
  at::Tensor one_;
};

// whole_texts: whether masks act on whole texts.
Pass Run(const Network& net, const std::vector<Fetched>& segment, const Hidden& hidden,
         const AttentionContext& context, bool whole_texts) {
  Pass pass{hidden, {}, {}, {}, {}};
  const Leaves leaves(hidden.exact);
  for (size_t i = 0; i < segment.size(); ++i) {
    const SubLayer& sub = *segment[i];
    at::Tensor mask, y;
    if (sub.units > 0 && whole_texts && GivesMaskGradient(net, sub, context))
      mask = leaves.Make({context.texts.texts, sub.units});
    if (sub.units > 0) pass.hidden = WithNorm(net, sub, pass.hidden);
    const at::Tensor x = UnitInputs(net, sub, pass.hidden, context, nullptr, mask);
    if (IsFused(net, sub)) {
      y = leaves.Make(hidden.exact.sizes());
      pass.hidden = ProjectAndAdd(net, sub, pass.hidden, x, y);
    } else {
      y = Project(sub, x);
      pass.hidden = AddBranch(net, sub, pass.hidden.exact, y);
    }
    if (sub.units == 0) continue;
    pass.inputs.push_back(x);
    pass.units.push_back(mask.defined() ? mask : x);
    pass.outputs.push_back(y);
    pass.owner.push_back(i);
  }
  return pass;
}

// Sums over stretches of a text want its tokens side by side.
AttentionContext ContextFor(const Network& net, const Batch& batch, bool whole_texts) {
  return whole_texts ? MakeFasterContext(net, batch) : MakeContext(net, batch);
}

// A batch on its way through the segments.
struct Trail {
  Batch batch;
  at::Tensor samples;                     // (B) int64 which they are, on the device
  std::vector<ResidualStream> starts;     // at the start of every segment but the first
  std::optional<ResidualStream> present;  // where the forward pass stands, then the gradient of the
                                          // loss by the residual stream; none with one segment
  at::Tensor loss_sum = {};               // () float64 of its samples, once the pass has been there
};

// The forward pass to the start of every segment. Starts wait in the compute dtype where the
// network streams: there they are many.
std::vector<Trail> MakeTrails(const Network& net, std::vector<Batch> batches,
                              const std::vector<Segment>& segments, bool whole_texts) {
  at::NoGradGuard no_gradients;
  std::vector<Trail> trails;
  int64_t numbers = 0;  // of the stream
  for (Batch& batch : batches) {
    numbers += batch.ids.numel() * net.spec.width;
    const at::Tensor which =
        at::tensor(batch.samples, at::kLong).to(net.compute.device, /*non_blocking=*/true);
    trails.push_back({.batch = std::move(batch), .samples = which, .starts = {}, .present = {}});
  }
  const at::ScalarType dtype = net.streamed ? net.compute.dtype : at::kFloat;
  const auto bytes = static_cast<int64_t>(c10::elementSize(dtype)) * numbers;
  const auto starts = static_cast<int64_t>(segments.size()) - 1;
  if (starts == 0) return trails;
  const Place place = PlaceFor(net.compute, 4 * numbers);
  const Place of_starts = PlaceFor(net.compute, starts * bytes);
  for (Trail& trail : trails) {
    const AttentionContext context = ContextFor(net, trail.batch, whole_texts);
    trail.present.emplace(Begin(net, trail.batch, context).exact, place);
  }
  for (size_t k = 0; k + 1 < segments.size(); ++k) {
    const std::vector<Fetched> segment = FetchAll(net, segments[k]);
    for (Trail& trail : trails) {
      const AttentionContext context = ContextFor(net, trail.batch, whole_texts);
      const at::Tensor hidden =
          Run(net, segment, trail.present->Get(), context, whole_texts).hidden.exact;
      trail.starts.emplace_back(hidden.to(dtype), of_starts);
      trail.present->Set(hidden);
    }
  }
  return trails;
}

// What a batch adds to the curvature of one of a segment's sub-layers.
struct CurvatureRows {
  size_t owner;          // which of them
  at::Tensor inputs;     // (M, I) X
  at::Tensor gradients;  // (M, D) of each sample's loss
};

// Gathers a segment's statistics batch by batch.
struct Gatherer {
  const Network& net;
  const Samples& samples;
  const MaskGradientOptions& options;
  int64_t each;  // rows a sample

  bool whole_texts() const { return each == 1; }

  // (..., D), as hidden is.
  at::Tensor AtTheEnd(const at::Tensor& hidden, const TextRows& texts, Trail* trail) const {
    const LossGradient gradient = LossGradientAt(
        net, samples, trail->batch, Unpacked(texts, hidden.detach()), options.labels, options.seed);
    trail->loss_sum = gradient.loss_sum;
    return Packed(texts, gradient.by_hidden);
  }

  // Backward through `segment`, the last that is left of the batch's way; at_end: the last of all.
  // What is left to be added to sums that batches share.
  std::vector<CurvatureRows> Add(const std::vector<Fetched>& segment, bool at_end, Trail* trail,
                                 std::vector<SubLayerGradients>* results) const {
    const Batch& batch = trail->batch;
    const bool at_start = trail->starts.empty();
    const AttentionContext context = ContextFor(net, batch, whole_texts());
    Hidden start =
        at_start ? Begin(net, batch, context) : Hidden(trail->starts.back().Get().to(at::kFloat));
    start.exact = start.exact.detach().requires_grad_();
    at::AutoGradMode with_gradients(true);
    const Pass pass = Run(net, segment, start, context, whole_texts());
    std::vector<at::Tensor> wanted = pass.units;
    if (options.curvature) wanted.insert(wanted.end(), pass.outputs.begin(), pass.outputs.end());
    if (!at_start) wanted.push_back(start.exact);
    const at::Tensor& end = pass.hidden.exact;
    const at::Tensor upstream =
        at_end ? AtTheEnd(end, context.texts, trail) : trail->present->Get();
    if (wanted.empty()) return {};  // no units up to here
    const std::vector<at::Tensor> gradients =
        torch::autograd::grad({end}, wanted, {upstream}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    at::NoGradGuard no_gradients;
    if (!at_start) {
      trail->present->Set(gradients.back());
      trail->starts.pop_back();
    }
    std::vector<CurvatureRows> of_curvature;
    for (size_t j = 0; j < pass.inputs.size(); ++j) {
      if (!gradients[j].defined()) continue;  // nothing after this sub-layer depends on it
      const SubLayer& sub = *segment[pass.owner[j]];
      const at::Tensor inputs = pass.inputs[j].detach();
      const bool of_masks = !pass.units[j].is_same(pass.inputs[j]);
      AddRows(*trail,
              of_masks ? gradients[j].unsqueeze(1) : Sums(sub, inputs, gradients[j], context),
              &(*results)[pass.owner[j]]);
      if (!options.curvature) continue;
      of_curvature.push_back(RowsOfCurvature(
          pass.owner[j], batch, inputs, gradients[pass.inputs.size() + j], context.texts.packed));
    }
    return of_curvature;
  }

  // (B, rows a sample, units). inputs, by_inputs: (..., I) X and the gradient by it.
  at::Tensor Sums(const SubLayer& sub, const at::Tensor& inputs, const at::Tensor& by_inputs,
                  const AttentionContext& context) const {
    if (context.texts.packed)
      return SumOverTexts(sub, inputs, by_inputs, context.texts).unsqueeze(1);
    return SumsOfProducts(inputs, by_inputs, sub.units,
                          whole_texts() ? inputs.size(1) : options.row_tokens);
  }

  // sums: (B, rows a sample, units).
  void AddRows(const Trail& trail, const at::Tensor& sums, SubLayerGradients* result) const {
    result->rows.index_copy_(0, RowsOf(trail.samples, each, sums.size(1)), sums.flatten(0, 1));
  }

  // inputs: (..., I) X; by_outputs: (..., D).
  CurvatureRows RowsOfCurvature(size_t owner, const Batch& batch, const at::Tensor& inputs,
                                const at::Tensor& by_outputs, bool packed) const {
    // A language model's loss is a mean over tokens; curvature is that of their sum.
    const bool language = net.spec.task == Task::kLanguageModel;
    const auto of_sum = static_cast<double>(language ? batch.ids.size(1) : 1);
    const auto real = [&](const at::Tensor& x) { return packed ? x : RealRows(batch, x); };
    return {owner, real(inputs), real(by_outputs) * of_sum};
  }
};

double MeanLoss(const std::vector<Trail>& trails, const Samples& samples) {
  at::Tensor sum;
  for (const Trail& trail : trails) {
    if (trail.loss_sum.defined()) sum = sum.defined() ? sum + trail.loss_sum : trail.loss_sum;
  }
  if (!sum.defined()) return 0;
  return sum.item<double>() / static_cast<double>(samples.samples.size());
}

// Of how many batches a round is, which go through a segment side by side, each on a thread of the
// CPU: one where the activations of so many want more segments, all where nothing of them waits for
// the round's end.
int64_t BatchesOfRound(const Network& net, const MaskGradientOptions& options, int64_t tokens,
                       const SegmentLimits& limits, size_t segments, size_t batches) {
  const int64_t threads = AtOnce(net.compute);
  if (threads == 1 || net.streamed ||
      MakeSegments(net, threads * tokens, limits, options.curvature).size() != segments)
    return 1;
  return options.curvature ? threads : static_cast<int64_t>(batches);
}

}  // namespace

void VisitMaskGradients(const Network& net, const Samples& samples,
                        const MaskGradientOptions& options, const Console& console,
                        const GradientVisitor& visit) {
  const auto count = static_cast<int64_t>(samples.samples.size());
  int64_t longest = 1;
  for (const Sample& sample : samples.samples) longest = std::max(longest, sample.tokens());
  const Gatherer gatherer{
      net, samples, options,
      options.row_tokens > 0 ? (longest + options.row_tokens - 1) / options.row_tokens : 1};
  std::vector<Batch> batches =
      MakeBatches(samples, net.spec, options.batch_tokens, net.compute.device);
  int64_t tokens = 0;  // of a batch, at most
  for (const Batch& batch : batches) tokens = std::max(tokens, batch.ids.numel());
  const SegmentLimits limits = options.segments.value_or(UsualLimits(net));
  const std::vector<Segment> segments = MakeSegments(net, tokens, limits, options.curvature);
  std::optional<Progress> progress(std::in_place, console, "gradients",
                                   count * static_cast<int64_t>(segments.size()));
  const int64_t at_once =
      BatchesOfRound(net, options, tokens, limits, segments.size(), batches.size());
  std::vector<Trail> trails = MakeTrails(net, std::move(batches), segments, gatherer.whole_texts());
  const at::TensorOptions exact = at::TensorOptions(at::kFloat).device(net.compute.device);
  for (size_t k = segments.size(); k-- > 0;) {
    std::vector<SubLayerGradients> results(segments[k].end - segments[k].begin);
    for (size_t j = 0; j < results.size(); ++j) {
      const SubLayer& sub = net.sub_layers[segments[k].begin + j];
      results[j].rows = at::zeros({count * gatherer.each, sub.units}, exact);
      results[j].curvature.positions =
          net.spec.task == Task::kLanguageModel ? samples.tokens() : count;
    }
    {
      const std::vector<Fetched> segment = FetchAll(net, segments[k]);
      InRounds(
          net.compute, static_cast<int64_t>(trails.size()), at_once,
          [&](int64_t t) {
            Trail& trail = trails[static_cast<size_t>(t)];
            std::vector<CurvatureRows> rows =
                gatherer.Add(segment, k + 1 == segments.size(), &trail, &results);
            progress->Step(trail.batch.rows());
            return rows;
          },
          [&](int64_t, const std::vector<CurvatureRows>& rows) {
            for (const CurvatureRows& one : rows)
              results[one.owner].curvature.Add(one.inputs, one.gradients);
          });
    }
    if (k == 0) progress.reset();
    const double mean_loss = MeanLoss(trails, samples);
    for (size_t j = results.size(); j-- > 0;) {
      results[j].mean_loss = mean_loss;
      visit(segments[k].begin + j, &results[j]);
      results[j] = {};
    }
  }
}

MaskGradients ComputeMaskGradients(const Network& net, const Samples& samples,
                                   const MaskGradientOptions& options, const Console& console) {
  MaskGradients all;
  all.rows.resize(net.sub_layers.size());
  if (options.curvature) all.curvatures.resize(net.sub_layers.size());
  VisitMaskGradients(net, samples, options, console, [&](size_t i, SubLayerGradients* one) {
    all.rows[i] = std::move(one->rows);
    if (options.curvature) all.curvatures[i] = std::move(one->curvature);
    all.mean_loss = one->mean_loss;
  });
  return all;
}

}  // namespace coppice
