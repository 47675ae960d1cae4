// Against LibTorch's softmax in float64, and its gradient against autograd's.
#include "model/causal_softmax.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "model/model_testing.h"

namespace coppice {
namespace {

struct Shape {
  int64_t heads, queries, keys;  // R, Q, E
};

// (Q, E), true for keys that a query does not see.
at::Tensor Later(const Shape& shape) {
  return at::ones({shape.queries, shape.keys}, at::kBool).triu(shape.keys - shape.queries + 1);
}

TEST(CausalSoftmax, IsThatOfFloat64AndItsGradient) {
  constexpr int64_t kGroups = 2;
  constexpr double kScale = 0.3;
  for (const Shape& shape : {Shape{1, 1, 1}, {3, 5, 5}, {1, 7, 40}, {2, 128, 300}}) {
    SCOPED_TRACE(fmt::format("{} queries of {} keys", shape.queries, shape.keys));
    Random random(8);
    const std::vector<int64_t> size = {kGroups, shape.heads * shape.queries, shape.keys};
    const at::Tensor scores = (20 * RandomTensor(size, &random)).to(at::kBFloat16);
    const at::Tensor upstream = RandomTensor(size, &random).to(at::kBFloat16);
    const at::Tensor leaf = scores.to(at::kDouble).requires_grad_();
    const at::Tensor later = Later(shape).repeat({shape.heads, 1});
    const at::Tensor expected = at::softmax(
        (leaf * kScale).masked_fill(later, -std::numeric_limits<double>::infinity()), -1);
    const at::Tensor by_scores =
        torch::autograd::grad({expected}, {leaf}, {upstream.to(at::kDouble)})[0];

    const at::Tensor found = scores.clone(), exact = at::full(size, 7.0F);
    CausalSoftmax(found, shape.queries, kScale, exact);
    EXPECT_LT(MaxDifference(exact, expected.detach()), 1e-6);
    EXPECT_TRUE(found.equal(exact.to(at::kBFloat16)));  // rounded as LibTorch rounds
    const at::Tensor alone = scores.clone();
    CausalSoftmax(alone, shape.queries, kScale);
    EXPECT_TRUE(alone.equal(found));

    const at::Tensor gradient = upstream.clone();
    CausalSoftmaxGradient(gradient, exact, shape.queries, kScale);
    EXPECT_LT(MaxDifference(gradient, by_scores),
              4e-3 * by_scores.abs().max().clamp_min(1e-6).item<double>());
  }
}

// What is far below the largest has no share; what is no number leaves none.
TEST(CausalSoftmax, OfScoresFarApartAndOfNoNumbers) {
  const at::Tensor far = at::tensor({-3e38F, 1e30F, -1e4F, 0.0F}).to(at::kBFloat16).view({1, 1, 4});
  CausalSoftmax(far, 1, 1);
  EXPECT_TRUE(
      far.flatten().to(at::kFloat).allclose(at::tensor({0.0F, 1.0F, 0.0F, 0.0F}), 0, 1e-37));
  const at::Tensor bad = at::tensor({1.0F, NAN, 2.0F}).to(at::kBFloat16).view({1, 1, 3});
  CausalSoftmax(bad, 1, 1);
  EXPECT_TRUE(bad.isnan().all().item<bool>());
}

}  // namespace
}  // namespace coppice
