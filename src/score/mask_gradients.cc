#include "score/mask_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "calibrate/residual_stream.h"
#include "model/forward.h"
#include "score/loss_gradient.h"

namespace coppice {
namespace {

// (B, rows a sample, units): sums over stretches of `row_tokens` tokens and over a unit's columns,
// in float32. Both factors are rounded to the compute dtype already, and so are their products.
at::Tensor SumOverTokens(const SubLayer& sub, const at::Tensor& inputs, const at::Tensor& gradient,
                         int64_t row_tokens) {
  at::Tensor product = inputs * gradient;  // (B, T, units * width)
  const int64_t rows = (product.size(1) + row_tokens - 1) / row_tokens;
  const int64_t missing = rows * row_tokens - product.size(1);
  if (missing > 0) product = at::constant_pad_nd(product, {0, 0, 0, missing});
  return product.view({product.size(0), rows, row_tokens, sub.units, sub.width})
      .sum({2, 4}, /*keepdim=*/false, at::kFloat);
}

// Where the rows of samples stand, `each` rows a sample of which `present` are filled. Made where
// the samples' numbers are: an upload would wait for all that the device has been asked.
at::Tensor RowsOf(const at::Tensor& samples, int64_t each, int64_t present) {
  return (samples.unsqueeze(1) * each + at::arange(present, samples.options()).unsqueeze(0))
      .flatten();
}

// A segment's forward pass.
struct Pass {
  at::Tensor hidden;                // (B, T, D) at its end
  std::vector<at::Tensor> inputs;   // X of the sub-layers that have units
  std::vector<at::Tensor> outputs;  // (B, T, D) what their projections make of it
  std::vector<size_t> owner;        // which of the segment's sub-layers each is of
};

Pass Run(const Network& net, const std::vector<Fetched>& segment, const at::Tensor& hidden,
         const AttentionContext& context) {
  Pass pass{hidden, {}, {}, {}};
  for (size_t i = 0; i < segment.size(); ++i) {
    const SubLayer& sub = *segment[i];
    const at::Tensor x = UnitInputs(net, sub, pass.hidden, context);
    const at::Tensor y = Project(sub, x);
    pass.hidden = AddBranch(net, sub, pass.hidden, y);
    if (sub.units == 0) continue;
    pass.inputs.push_back(x);
    pass.outputs.push_back(y);
    pass.owner.push_back(i);
  }
  return pass;
}

// A batch on its way through the segments.
struct Trail {
  Batch batch;
  at::Tensor samples;                     // (B) int64 which they are, on the device
  std::vector<ResidualStream> starts;     // at the start of every segment but the first
  std::optional<ResidualStream> present;  // where the forward pass stands, then the gradient of the
                                          // loss by the residual stream; none with one segment
};

// The forward pass to the start of every segment. Starts wait in the compute dtype where the
// network streams: there they are many.
std::vector<Trail> MakeTrails(const Network& net, std::vector<Batch> batches,
                              const std::vector<Segment>& segments) {
  at::NoGradGuard no_gradients;
  std::vector<Trail> trails;
  int64_t numbers = 0;  // of the stream
  for (Batch& batch : batches) {
    numbers += batch.ids.numel() * net.spec.width;
    const at::Tensor which = at::tensor(batch.samples, at::kLong).to(net.compute.device);
    trails.push_back({std::move(batch), which, {}, {}});
  }
  const at::ScalarType dtype = net.streamed ? net.compute.dtype : at::kFloat;
  const auto bytes = static_cast<int64_t>(c10::elementSize(dtype)) * numbers;
  const auto starts = static_cast<int64_t>(segments.size()) - 1;
  if (starts == 0) return trails;
  const Place place = PlaceFor(net.compute, 4 * numbers);
  const Place of_starts = PlaceFor(net.compute, starts * bytes);
  for (Trail& trail : trails) trail.present.emplace(Embed(net, trail.batch), place);
  for (size_t k = 0; k + 1 < segments.size(); ++k) {
    const std::vector<Fetched> segment = FetchAll(net, segments[k]);
    for (Trail& trail : trails) {
      const AttentionContext context = MakeContext(net, trail.batch);
      const at::Tensor hidden = Run(net, segment, trail.present->Get(), context).hidden;
      trail.starts.emplace_back(hidden.to(dtype), of_starts);
      trail.present->Set(hidden);
    }
  }
  return trails;
}

// Gathers a segment's statistics batch by batch.
struct Gatherer {
  const Network& net;
  const Samples& samples;
  const MaskGradientOptions& options;
  int64_t each;         // rows a sample
  double loss_sum = 0;  // of the samples

  at::Tensor AtTheEnd(const at::Tensor& hidden, const Batch& batch) {
    const LossGradient gradient =
        LossGradientAt(net, samples, batch, hidden.detach(), options.labels, options.seed);
    loss_sum += gradient.loss_sum;
    return gradient.by_hidden;
  }

  // Backward through `segment`, the last that is left of the batch's way; at_end: the last of all.
  void Add(const std::vector<Fetched>& segment, bool at_end, Trail* trail,
           std::vector<SubLayerGradients>* results) {
    const Batch& batch = trail->batch;
    const bool at_start = trail->starts.empty();
    const at::Tensor start =
        (at_start ? Embed(net, batch) : trail->starts.back().Get().to(at::kFloat))
            .detach()
            .requires_grad_();
    at::AutoGradMode with_gradients(true);
    const Pass pass = Run(net, segment, start, MakeContext(net, batch));
    std::vector<at::Tensor> wanted = pass.inputs;
    if (options.curvature) wanted.insert(wanted.end(), pass.outputs.begin(), pass.outputs.end());
    if (!at_start) wanted.push_back(start);
    const at::Tensor upstream = at_end ? AtTheEnd(pass.hidden, batch) : trail->present->Get();
    if (wanted.empty()) return;  // no units up to here
    const std::vector<at::Tensor> gradients =
        torch::autograd::grad({pass.hidden}, wanted, {upstream}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    at::NoGradGuard no_gradients;
    if (!at_start) {
      trail->present->Set(gradients.back());
      trail->starts.pop_back();
    }
    for (size_t j = 0; j < pass.inputs.size(); ++j) {
      if (!gradients[j].defined()) continue;  // nothing after this sub-layer depends on it
      AddSubLayer(*segment[pass.owner[j]], *trail, pass.inputs[j].detach(), gradients[j],
                  options.curvature ? gradients[pass.inputs.size() + j] : at::Tensor(),
                  &(*results)[pass.owner[j]]);
    }
  }

  // inputs, by_inputs: (B, T, I) X and the gradient by it. by_outputs: (B, T, D), where curvature
  // is wanted.
  void AddSubLayer(const SubLayer& sub, const Trail& trail, const at::Tensor& inputs,
                   const at::Tensor& by_inputs, const at::Tensor& by_outputs,
                   SubLayerGradients* result) const {
    const Batch& batch = trail.batch;
    const int64_t row_tokens = each == 1 ? batch.ids.size(1) : options.row_tokens;
    const at::Tensor sums = SumOverTokens(sub, inputs, by_inputs, row_tokens);
    result->rows.index_copy_(0, RowsOf(trail.samples, each, sums.size(1)), sums.flatten(0, 1));
    if (!options.curvature) return;
    // A language model's loss is a mean over tokens; curvature is that of their sum.
    const bool language = net.spec.task == Task::kLanguageModel;
    const auto of_sum = static_cast<double>(language ? batch.ids.size(1) : 1);
    result->curvature.Add(RealRows(batch, inputs), RealRows(batch, by_outputs) * of_sum);
  }
};

}  // namespace

void VisitMaskGradients(const Network& net, const Samples& samples,
                        const MaskGradientOptions& options, const Console& console,
                        const GradientVisitor& visit) {
  const auto count = static_cast<int64_t>(samples.samples.size());
  int64_t longest = 1;
  for (const Sample& sample : samples.samples) longest = std::max(longest, sample.tokens());
  Gatherer gatherer{
      net, samples, options,
      options.row_tokens > 0 ? (longest + options.row_tokens - 1) / options.row_tokens : 1};
  std::vector<Batch> batches =
      MakeBatches(samples, net.spec, options.batch_tokens, net.compute.device);
  int64_t tokens = 0;  // of a batch, at most
  for (const Batch& batch : batches) tokens = std::max(tokens, batch.ids.numel());
  const std::vector<Segment> segments =
      MakeSegments(net, tokens, options.segments.value_or(UsualLimits(net)), options.curvature);
  std::optional<Progress> progress(std::in_place, console, "gradients",
                                   count * static_cast<int64_t>(segments.size()));
  std::vector<Trail> trails = MakeTrails(net, std::move(batches), segments);
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
      for (Trail& trail : trails) {
        gatherer.Add(segment, k + 1 == segments.size(), &trail, &results);
        progress->Step(trail.batch.rows());
      }
    }
    if (k == 0) progress.reset();
    for (size_t j = results.size(); j-- > 0;) {
      results[j].mean_loss = count > 0 ? gatherer.loss_sum / static_cast<double>(count) : 0;
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
