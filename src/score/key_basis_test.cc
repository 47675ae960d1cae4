// Directions of queries and keys against the scores themselves.
#include "score/key_basis.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "calibrate/samples_testing.h"
#include "model/decoder_testing.h"
#include "model/forward.h"

namespace coppice {
namespace {

const Console kQuiet(true);

// What the first attention reads, all samples' rows: (M, D) float64.
at::Tensor FirstInputs(const Network& net, const Samples& samples) {
  std::vector<at::Tensor> rows;
  for (const Batch& batch : MakeBatches(samples, net.spec, 1024, at::kCPU))
    rows.push_back(RealRows(batch, ReadByBranch(net, net.sub_layers[0], Embed(net, batch))));
  return at::cat(rows).to(at::kDouble);
}

// A head's rows of x W' + b: (M, K).
at::Tensor Rows(const Model& model, const std::string& linear, int64_t head, int64_t width,
                const at::Tensor& x) {
  const at::Tensor weight = model.tensors.at(linear + ".weight")
                                .to(at::kDouble)
                                .slice(0, head * width, (head + 1) * width);
  at::Tensor y = at::mm(x, weight.t());
  const auto bias = model.tensors.find(linear + ".bias");
  if (bias != model.tensors.end())
    y = y + bias->second.to(at::kDouble).slice(0, head * width, (head + 1) * width);
  return y;
}

TEST(KeyBasis, OrdersDirectionsByWhatTheyMoveTheScores) {
  UseThreads(1);
  const Model model = LoadModel(TinyFolder("bert-base"));
  const Network net = Bind(model, {});
  const Samples samples = RandomSamples(model.spec, 24, 3);
  HeadBasis basis;
  AddKeyBasis(model, 0, GatherReaderMoments(net, samples, kQuiet)[0], &basis);
  const SubLayerSpec& sub = model.spec.sub_layers[0];
  const at::Tensor x = FirstInputs(net, samples);
  for (int64_t head = 0; head < sub.units; ++head) {
    const at::Tensor q = Rows(model, sub.query, head, sub.key_width, x);
    at::Tensor k = Rows(model, sub.key, head, sub.key_width, x);
    k = k - k.mean(0, true);
    const at::Tensor turned_q = at::mm(q, basis.query[head]), turned_k = at::mm(k, basis.key[head]);
    const at::Tensor scores = at::mm(q, k.t());  // (M, M)
    EXPECT_LT(MaxDifference(at::mm(turned_q, turned_k.t()), scores), 1e-9);
    // No cut of both to `kept` numbers moves the scores less than the best approximation of them.
    const at::Tensor singular = at::linalg_svdvals(scores);
    for (const int64_t kept : {2, 4, 6}) {
      const at::Tensor cut = at::mm(turned_q.slice(1, 0, kept), turned_k.slice(1, 0, kept).t());
      const double lost = (scores - cut).square().sum().item<double>();
      const double least = singular.slice(0, kept).square().sum().item<double>();
      EXPECT_NEAR(lost, least, 1e-3 * scores.square().sum().item<double>());
    }
  }
}

TEST(KeyBasis, OrdersPairsByTheirEnergyInAllHeads) {
  const TinyDecoder tiny("llama3");
  const ModelSpec& spec = tiny.model.spec;
  const Samples samples = RandomSamples(spec, 8, 4);
  HeadBasis basis;
  AddKeyBasis(tiny.model, 0, GatherReaderMoments(tiny.net, samples, kQuiet)[0], &basis);
  const SubLayerSpec& sub = spec.sub_layers[0];
  const at::Tensor x = FirstInputs(tiny.net, samples);
  std::vector<std::pair<double, int64_t>> expected;  // minus the energy, pair
  for (int64_t pair = 0; pair < sub.key_width / 2; ++pair) {
    double sum = 0;
    for (int64_t head = 0; head < sub.units * sub.queries; ++head) {
      const auto energy = [&](const std::string& linear, int64_t of) {
        const at::Tensor y = Rows(tiny.model, linear, of, sub.key_width, x);
        return y.select(1, pair).square().sum() +
               y.select(1, pair + sub.key_width / 2).square().sum();
      };
      sum += (energy(sub.query, head) * energy(sub.key, head / sub.queries)).sqrt().item<double>();
    }
    expected.emplace_back(-sum, pair);
  }
  std::sort(expected.begin(), expected.end());
  std::vector<int64_t> order;
  for (const auto& one : expected) order.push_back(one.second);
  EXPECT_EQ(basis.pairs, order);
}

}  // namespace
}  // namespace coppice
