#include "score/mask_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "core/error.h"
#include "model/forward.h"

namespace coppice {
namespace {

// (B, rows a sample, units): sums over stretches of `row_tokens` tokens and over a unit's columns,
// in float32.
at::Tensor SumOverTokens(const SubLayer& sub, const at::Tensor& inputs, const at::Tensor& gradient,
                         int64_t row_tokens) {
  at::Tensor product = inputs.detach().to(at::kFloat) * gradient;  // (B, T, units * width)
  const int64_t rows = (product.size(1) + row_tokens - 1) / row_tokens;
  product = at::constant_pad_nd(product, {0, 0, 0, rows * row_tokens - product.size(1)});
  return product.view({product.size(0), rows, row_tokens, sub.units, sub.width}).sum({2, 4});
}

// Where the rows of a batch's samples stand, `each` rows a sample of which `present` are filled.
at::Tensor RowsOf(const Batch& batch, int64_t each, int64_t present, at::Device device) {
  const at::Tensor first = at::tensor(batch.samples, at::kLong).unsqueeze(1) * each;
  return (first + at::arange(present, at::kLong).unsqueeze(0)).flatten().to(device);
}

// Sub-layers [begin, end) whose activations are in memory at one time.
struct Segment {
  size_t begin = 0, end = 0;
};

// What the backward pass needs of one token in a sub-layer, about: the residual stream a few times,
// the projections' outputs and what is made of them.
int64_t BytesPerToken(const Network& net, const SubLayer& sub) {
  const auto element = static_cast<int64_t>(c10::elementSize(net.compute.dtype));
  int64_t read = 0;
  for (const Linear& linear : sub.in) read += linear.weight.size(0);
  return 12 * net.spec.width + 3 * element * (read + sub.units * sub.width);
}

// As few as the memory allows. With more than one, each is run again when the backward pass reaches
// it, which costs one more forward pass (Chen et al. 2016).
std::vector<Segment> MakeSegments(const Network& net, int64_t tokens) {
  const int64_t limit = net.compute.device.is_cuda() ? int64_t{6} << 30 : int64_t{3} << 29;
  std::vector<Segment> segments = {{0, 0}};
  int64_t bytes = 0;
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const int64_t more = tokens * BytesPerToken(net, net.sub_layers[i]);
    if (bytes > 0 && bytes + more > limit) {
      segments.push_back({i, i});
      bytes = 0;
    }
    bytes += more;
    segments.back().end = i + 1;
  }
  return segments;
}

// A segment's forward pass.
struct Pass {
  at::Tensor hidden;                // (B, T, D) at its end
  std::vector<at::Tensor> inputs;   // X of the sub-layers that have units
  std::vector<at::Tensor> outputs;  // (B, T, D) what their projections make of it
  std::vector<size_t> owner;        // which sub-layer each is of
};

Pass Run(const Network& net, const Segment& segment, const at::Tensor& hidden,
         const AttentionContext& context) {
  Pass pass{hidden, {}, {}, {}};
  for (size_t i = segment.begin; i < segment.end; ++i) {
    const SubLayer& sub = net.sub_layers[i];
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

// The residual stream at the start of every segment; no gradients.
std::vector<at::Tensor> SegmentStarts(const Network& net, const std::vector<Segment>& segments,
                                      const Batch& batch, const AttentionContext& context) {
  at::NoGradGuard no_gradients;
  std::vector<at::Tensor> starts = {Embed(net, batch)};
  for (size_t k = 0; k + 1 < segments.size(); ++k) {
    at::Tensor hidden = starts.back();
    for (size_t i = segments[k].begin; i < segments[k].end; ++i) {
      const SubLayer& sub = net.sub_layers[i];
      hidden = AddBranch(net, sub, hidden, Project(sub, UnitInputs(net, sub, hidden, context)));
    }
    starts.push_back(hidden);
  }
  return starts;
}

// Adds one batch's rows to `result`, `each` a sample; the sum of its samples' losses.
double AddBatch(const Network& net, const Samples& samples, const Batch& batch,
                const MaskGradientOptions& options, int64_t each, MaskGradients* result) {
  const int64_t row_tokens = each == 1 ? batch.ids.size(1) : options.row_tokens;
  const AttentionContext context = MakeContext(net, batch);
  const std::vector<Segment> segments = MakeSegments(net, batch.ids.numel());
  const std::vector<at::Tensor> starts = SegmentStarts(net, segments, batch, context);
  double loss_sum = 0;
  at::Tensor upstream;  // gradient of the loss by the residual stream
  // A language model's loss is a mean over tokens; curvature is that of their sum.
  const bool language = net.spec.task == Task::kLanguageModel;
  const auto of_sum = static_cast<double>(language ? batch.ids.size(1) : 1);
  for (size_t k = segments.size(); k-- > 0;) {
    at::AutoGradMode with_gradients(true);
    const at::Tensor start = starts[k].detach().requires_grad_();
    const Pass pass = Run(net, segments[k], start, context);
    at::Tensor end = pass.hidden;
    if (k + 1 == segments.size()) {
      const at::Tensor output = ApplyHead(net, pass.hidden, batch);
      const at::Tensor targets =
          MakeTargets(net.spec, samples, batch, output, options.labels, options.seed);
      const at::Tensor losses = SampleLosses(net.spec.task, output, targets);
      loss_sum = losses.sum().item<double>();
      end = options.labels == LabelSource::kProbe
                ? ProbeLosses(net.spec.task, output, batch, options.seed).sum()
                : losses.sum();
    }
    std::vector<at::Tensor> wanted = pass.inputs;
    if (options.curvature) wanted.insert(wanted.end(), pass.outputs.begin(), pass.outputs.end());
    if (k > 0) wanted.push_back(start);
    const std::vector<at::Tensor> gradients =
        torch::autograd::grad({end}, wanted, {upstream}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    at::NoGradGuard no_gradients;
    if (k > 0) upstream = gradients.back();
    for (size_t j = 0; j < pass.inputs.size(); ++j) {
      if (!gradients[j].defined()) continue;  // nothing after this sub-layer depends on it
      const size_t owner = pass.owner[j];
      const at::Tensor sums =
          SumOverTokens(net.sub_layers[owner], pass.inputs[j], gradients[j], row_tokens);
      result->rows[owner].index_copy_(0, RowsOf(batch, each, sums.size(1), net.compute.device),
                                      sums.flatten(0, 1));
      if (!options.curvature) continue;
      result->curvatures[owner].Add(RealRows(batch, pass.inputs[j].detach()),
                                    RealRows(batch, gradients[pass.inputs.size() + j]) * of_sum);
    }
  }
  return loss_sum;
}

}  // namespace

MaskGradients ComputeMaskGradients(const Network& net, const Samples& samples,
                                   const MaskGradientOptions& options, const Console& console) {
  MaskGradients result;
  const auto count = static_cast<int64_t>(samples.samples.size());
  int64_t longest = 1;
  for (const Sample& sample : samples.samples) longest = std::max(longest, sample.tokens());
  const int64_t each =
      options.row_tokens > 0 ? (longest + options.row_tokens - 1) / options.row_tokens : 1;
  const at::TensorOptions exact = at::TensorOptions(at::kFloat).device(net.compute.device);
  for (const SubLayer& sub : net.sub_layers)
    result.rows.push_back(at::zeros({count * each, sub.units}, exact));
  if (options.curvature) {
    result.curvatures.resize(net.sub_layers.size());
    const int64_t positions = net.spec.task == Task::kLanguageModel ? samples.tokens() : count;
    for (Curvature& one : result.curvatures) one.positions = positions;
  }
  Progress progress(console, "gradients", count);
  double loss_sum = 0;
  for (const Batch& batch :
       MakeBatches(samples, net.spec, options.batch_tokens, net.compute.device)) {
    loss_sum += AddBatch(net, samples, batch, options, each, &result);
    progress.Step(batch.rows());
  }
  result.mean_loss = count > 0 ? loss_sum / static_cast<double>(count) : 0;
  return result;
}

}  // namespace coppice
