// Against LibTorch's layer norm in float64, and its gradients against autograd's.
#include "model/sum_norm_rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <vector>

#include "model/device.h"
#include "model/encoder_testing.h"
#include "model/kernel_testing.h"
#include "model/residual_norm.h"

namespace coppice {
namespace {

using torch::autograd::grad;

constexpr double kEpsilon = 1e-5;

at::Tensor Leaf(const at::Tensor& x, at::ScalarType dtype) {
  return x.detach().to(dtype).requires_grad_();
}

// In float64.
at::Tensor Normed(const at::Tensor& sum, const at::Tensor& weight, const at::Tensor& bias) {
  return at::layer_norm(sum, {weight.numel()}, weight.to(at::kDouble), bias.to(at::kDouble),
                        kEpsilon);
}

at::Tensor Bfloat16Like(const at::Tensor& x) {
  return at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
}

class SumNormRows : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { UseThreads(GetParam()); }
  void TearDown() override { UseThreads(1); }
};

TEST_P(SumNormRows, AreThoseOfFloat64) {
  for (const int64_t width : {2, 3, 17, 100, 768, 1027}) {
    for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
      SCOPED_TRACE(fmt::format("{} columns of {}", width, c10::toString(dtype)));
      Random random(3);
      const std::vector<int64_t> shape = {5, 19, width};
      const SumNorm norm = {
          3 * RandomTensor(shape, &random) + 1, RandomTensor(shape, &random).to(dtype),
          RandomTensor({width}, &random) + 1, RandomTensor({width}, &random), kEpsilon};
      const at::Tensor by_exact = RandomTensor(shape, &random);
      const at::Tensor by_rounded = RandomTensor(shape, &random).to(at::kBFloat16);
      const at::Tensor sum =
          Leaf(norm.hidden.to(at::kDouble) + norm.branch.to(at::kDouble), at::kDouble);
      const at::Tensor expected = Normed(sum, norm.weight, norm.bias);
      const auto expected_by = [&](const at::Tensor& upstream) {
        return grad({expected}, {sum}, {upstream.to(at::kDouble)}, /*retain_graph=*/true)[0];
      };

      const at::Tensor exact = at::empty(shape, at::kFloat), rounded = Bfloat16Like(exact);
      NormSums(norm, exact, rounded);
      EXPECT_LT(ErrorOf(exact, expected.detach()), 1e-6);
      EXPECT_TRUE(rounded.equal(exact.to(at::kBFloat16)));
      const at::Tensor alone = at::empty_like(exact);
      NormSums(norm, alone, {});
      EXPECT_TRUE(alone.equal(exact));

      // Of two columns that are normed, nothing but rounding is left of the gradient.
      const double bound = width == 2 ? 1e-3 : 1e-6;
      const at::Tensor by_sum = at::empty_like(exact), by_product = Bfloat16Like(exact);
      NormSumsGradient(norm, by_exact, by_rounded, by_sum, by_product);
      EXPECT_LT(ErrorOf(by_sum, expected_by(by_exact + by_rounded)), bound);
      EXPECT_TRUE(by_product.equal(by_sum.to(at::kBFloat16)));
      NormSumsGradient(norm, by_exact, {}, by_sum, by_product);
      EXPECT_LT(ErrorOf(by_sum, expected_by(by_exact)), bound);
      NormSumsGradient(norm, {}, by_rounded, by_sum, by_product);
      EXPECT_LT(ErrorOf(by_sum, expected_by(by_rounded)), bound);
    }
  }
}

// What is no number stays in its row.
TEST_P(SumNormRows, KeepNoNumbersApart) {
  const at::Tensor hidden = at::arange(24, at::kFloat).view({3, 8});
  hidden[1][5] = NAN;
  const SumNorm norm = {hidden, at::ones({3, 8}, at::kBFloat16), at::ones({8}), at::zeros({8}),
                        kEpsilon};
  const at::Tensor exact = at::empty_like(hidden), rounded = Bfloat16Like(exact);
  const auto expect_row = [](const at::Tensor& x) {
    EXPECT_TRUE(x[1].isnan().all().item<bool>());
    EXPECT_TRUE(at::stack({x[0], x[2]}).isfinite().all().item<bool>());
  };
  NormSums(norm, exact, rounded);
  expect_row(exact);
  expect_row(rounded);
  NormSumsGradient(norm, at::ones({3, 8}), {}, exact, rounded);
  expect_row(exact);
  expect_row(rounded);
}

// As an encoder has them: with the product before it, whose result is rounded.
TEST_P(SumNormRows, OfAProjection) {
  const Compute compute = {at::kCPU, at::kBFloat16};
  for (const int64_t width : {30, 132, 768}) {
    for (const bool biased : {false, true}) {
      SCOPED_TRACE(fmt::format("{} columns, bias {}", width, biased));
      Random random(13);
      const Network net = RandomEncoder({.width = width, .heads = {1}, .channels = {8}}, compute);
      ASSERT_TRUE(HasOwnNorm(net));
      SubLayer sub = net.sub_layers[0];
      if (!biased) sub.out.bias.reset();
      const at::Tensor hidden = Leaf(3 * RandomTensor({3, 5, width}, &random) + 1, at::kFloat);
      const at::Tensor inputs = Leaf(RandomTensor({3, 5, 32}, &random), at::kBFloat16);
      const at::Tensor leaf = at::zeros({1}).expand({3, 5, width}).requires_grad_();
      const at::Tensor by_exact = RandomTensor({3, 5, width}, &random);
      const at::Tensor by_rounded = RandomTensor({3, 5, width}, &random).to(at::kBFloat16);

      const at::Tensor h = Leaf(hidden, at::kDouble), x = Leaf(inputs, at::kDouble);
      at::Tensor branch = at::matmul(x, sub.out.weight.to(at::kDouble).t());
      if (biased) branch = branch + sub.out.bias.to(at::kDouble);
      const at::Tensor product = Project(sub, inputs.detach());
      EXPECT_LT(ErrorOf(product, branch.detach()), 4e-3);
      const at::Tensor expected =
          Normed(h + branch + (product - branch).detach(), sub.norm.weight, sub.norm.bias);
      const std::vector<at::Tensor> wanted =
          grad({expected}, {h, x}, {by_exact.to(at::kDouble) + by_rounded.to(at::kDouble)});

      const Hidden stream = ProjectAndNorm(net, sub, hidden, inputs, leaf);
      const std::vector<at::Tensor> found =
          grad({stream.exact, stream.rounded}, {hidden, inputs, leaf}, {by_exact, by_rounded});
      EXPECT_LT(ErrorOf(stream.exact.detach(), expected.detach()), 1e-6);
      EXPECT_TRUE(stream.rounded.equal(stream.exact.to(at::kBFloat16)));
      EXPECT_LT(ErrorOf(found[0], wanted[0]), 1e-6);
      EXPECT_LT(ErrorOf(found[1], wanted[1]), 4e-3);
      EXPECT_TRUE(found[2].equal(found[0]));

      // In two steps, as passes that look at branches take them.
      at::NoGradGuard no_gradients;
      EXPECT_TRUE(AddBranch(net, sub, hidden, product).equal(stream.exact));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, SumNormRows, testing::Values(1, 3));

}  // namespace
}  // namespace coppice
