#include "score/statistics.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "calibrate/residual_stream.h"
#include "model/at_once.h"
#include "model/forward.h"
#include "model/gram.h"

namespace coppice {
namespace {

struct Stream {
  AttentionContext context;  // packed
  ResidualStream hidden;
};

// Through a sub-layer; its unit inputs (M, I).
at::Tensor Advance(const Network& net, const SubLayer& sub, Stream* stream) {
  const at::Tensor hidden = stream->hidden.Get();
  const at::Tensor inputs = UnitInputs(net, sub, hidden, stream->context);
  stream->hidden.Set(ProjectAndAdd(net, sub, hidden, inputs).exact);
  return inputs;
}

void Add(const at::Tensor& x, StatisticsKind kind, UnitStatistics* statistics, ProductSum* gram) {
  const at::Tensor exact = x.to(at::kFloat);
  if (!statistics->sum.defined()) {
    const at::TensorOptions options = exact.options().dtype(at::kDouble);
    statistics->sum = at::zeros({x.size(1)}, options);
    statistics->squares = at::zeros({x.size(1)}, options);
  }
  statistics->tokens += x.size(0);
  statistics->sum.add_(exact.sum(0, false, at::kDouble));
  if (kind == StatisticsKind::kFull) {
    gram->Add(x, x);
  } else {
    statistics->squares.add_(exact.square().sum(0, false, at::kDouble));
  }
}

}  // namespace

void VisitSubLayers(const Network& net, const Samples& samples, StatisticsKind kind,
                    const Console& console,
                    const std::function<void(size_t, const UnitStatistics&)>& visit) {
  at::NoGradGuard no_gradients;
  const Place place = PlaceFor(net.compute, samples.tokens() * net.spec.width * 4);
  std::vector<Stream> streams;
  const int64_t batch_tokens = UsualBatchTokens(net.compute.device);
  for (const Batch& batch : MakeBatches(samples, net.spec, batch_tokens, net.compute.device)) {
    AttentionContext context = MakePackedContext(net, batch);
    ResidualStream hidden(Begin(net, batch, context).exact, place);  // (M, D)
    streams.push_back({std::move(context), std::move(hidden)});
  }
  // Where matrices stream there is no room for the inputs of several batches.
  const int64_t at_once = net.streamed ? 1 : AtOnce(net.compute);
  Progress progress(console, "statistics", static_cast<int64_t>(net.sub_layers.size()));
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    Fetched sub = Fetch(net, i);
    Prefetch(net, i + 1);
    UnitStatistics statistics;
    ProductSum gram;
    InRounds(
        net.compute, static_cast<int64_t>(streams.size()), at_once,
        [&](int64_t k) { return Advance(net, *sub, &streams[static_cast<size_t>(k)]); },
        [&](int64_t, const at::Tensor& inputs) { Add(inputs, kind, &statistics, &gram); });
    sub.reset();
    if (kind == StatisticsKind::kFull) {
      statistics.gram = gram.Take();
      statistics.squares = statistics.gram.diagonal();
    }
    visit(i, statistics);
    progress.Step();
  }
}

}  // namespace coppice
