// The kernels of a decoder's pass against the same in float64, and their gradients against
// autograd's. Those of a GPU are run by scripts/test_cuda.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "model/gated_silu.h"
#include "model/kernel_testing.h"
#include "model/residual_sum.h"
#include "model/rms_norm.h"
#include "model/rotation.h"

namespace coppice {
namespace {

using torch::autograd::grad;

at::Tensor RandomFloat(at::IntArrayRef shape, Random* random) {
  return RandomTensor(shape, random).to(kKernelDevice);
}

at::Tensor Leaf(const at::Tensor& x, at::ScalarType dtype) {
  return x.detach().to(dtype).requires_grad_();
}

// One rounding of a bfloat16: half of 2^-8 at most, and a third of it in a norm.
constexpr double kRounding = 2.5e-3;

void ExpectRmsNormOfFloat64(at::Device device, const std::vector<int64_t>& widths) {
  for (const int64_t width : widths) {
    SCOPED_TRACE(fmt::format("{} columns", width));
    Random random(3);
    const at::Tensor weight = RandomTensor({width}, &random).to(device) + 1;
    const at::Tensor numbers = 5 * RandomTensor({2, 7, width}, &random).to(device) + 2;
    const at::Tensor upstream = RandomTensor({2, 7, width}, &random).to(device, at::kBFloat16);
    const at::Tensor exact = Leaf(numbers, at::kDouble), x = Leaf(numbers, at::kFloat);
    const at::Tensor expected =
        exact * (exact.square().mean(-1, true) + 1e-5).rsqrt() * weight.to(at::kDouble);
    const at::Tensor found = RmsNormRounded(x, weight, 1e-5);
    EXPECT_EQ(found.scalar_type(), at::kBFloat16);
    EXPECT_LT(ErrorOf(found.detach(), expected.detach()), kRounding);
    EXPECT_LT(ErrorOf(grad({found}, {x}, {upstream})[0],
                      grad({expected}, {exact}, {upstream.to(at::kDouble)})[0]),
              1e-6);
  }
}

// x goes into a sum, too: together, and each alone.
void ExpectGradientsOfBoth(at::Device device) {
  Random random(4);
  const at::Tensor weight = RandomTensor({100}, &random).to(device) + 1;
  const at::Tensor numbers = RandomTensor({2, 7, 100}, &random).to(device);
  const at::Tensor beside = RandomTensor({2, 7, 100}, &random).to(device);
  const at::Tensor upstream = RandomTensor({2, 7, 100}, &random).to(device, at::kBFloat16);
  const at::Tensor x = Leaf(numbers, at::kFloat);
  const at::Tensor of_norm = grad({RmsNormRounded(x, weight, 1e-5)}, {x}, {upstream})[0];
  const Hidden both = WithRmsNorm(x, weight, 1e-5);
  EXPECT_TRUE(both.exact.equal(x));
  EXPECT_TRUE(both.rounded.equal(RmsNormRounded(x, weight, 1e-5)));
  const auto gradient = [&](const std::vector<at::Tensor>& of, const std::vector<at::Tensor>& by) {
    return grad(of, {x}, by, /*retain_graph=*/true)[0];
  };
  EXPECT_LT(ErrorOf(gradient({both.exact, both.rounded}, {beside, upstream}), of_norm + beside),
            1e-6);
  EXPECT_TRUE(gradient({both.exact}, {beside}).equal(beside));
  EXPECT_TRUE(gradient({both.rounded}, {upstream}).equal(of_norm));
}

TEST(CudaRmsNorm, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectRmsNormOfFloat64(kKernelDevice, {4, 100, 576, 2048, 4096});
  ExpectGradientsOfBoth(kKernelDevice);
}

TEST(RmsNormRows, AreThoseOfFloat64) {
  ExpectRmsNormOfFloat64(at::kCPU, {3, 4, 17, 100, 576, 4096});
  ExpectGradientsOfBoth(at::kCPU);
}

// error: of a sum, in which a product on the CPU is rounded.
void ExpectResidualSumOfFloat64(at::Device device, double error) {
  const auto rounded = [&](at::IntArrayRef shape, Random* random) {
    return RandomTensor(shape, random).to(device, at::kBFloat16);
  };
  for (const int64_t columns : {8, 100, 1536}) {  // the kernels take no rows of 200 bytes
    for (const bool biased : {false, true}) {
      SCOPED_TRACE(fmt::format("{} columns, {}", columns, biased));
      Random random(6);
      SubLayer sub;
      sub.out.weight = rounded({576, columns}, &random);
      if (biased) sub.out.bias = rounded({576}, &random);
      const at::Tensor stream = RandomTensor({3, 11, 576}, &random).to(device);
      const at::Tensor inputs = rounded({3, 11, columns}, &random);
      const at::Tensor upstream = RandomTensor({3, 11, 576}, &random).to(device);
      const at::Tensor hidden = Leaf(stream, at::kFloat), x = Leaf(inputs, at::kBFloat16);
      const at::Tensor branch = Leaf(at::ones_like(stream), at::kFloat);
      const at::Tensor found = ProjectAndSum(sub, hidden, x, branch);
      const auto exact = [](const at::Tensor& of) { return of.to(at::kDouble); };
      at::Tensor expected = exact(stream) + at::matmul(exact(inputs), exact(sub.out.weight).t());
      if (biased) expected = expected + exact(sub.out.bias);
      EXPECT_LT(ErrorOf(found.detach(), expected), error);
      const std::vector<at::Tensor> gradients = grad({found}, {hidden, x, branch}, {upstream});
      EXPECT_TRUE(gradients[0].equal(upstream));
      EXPECT_LT(ErrorOf(gradients[1], at::matmul(exact(upstream), exact(sub.out.weight))),
                2 * kRounding);
      EXPECT_TRUE(gradients[2].equal(upstream));
    }
  }
}

TEST(CudaResidualSum, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectResidualSumOfFloat64(kKernelDevice, 1e-5);
}

TEST(ResidualSumRows, AreThoseOfFloat64) { ExpectResidualSumOfFloat64(at::kCPU, kRounding); }

// Rounded as LibTorch rounds, ties, large and denormal numbers included; NaN stays NaN.
TEST(RmsNormRows, RoundAsLibTorchDoes) {
  const at::Tensor x = at::tensor({1.00390625F, 1.01171875F, -3e38F, 1e-40F, 0.0F, 1.0F});
  EXPECT_TRUE(RmsNormRounded(at::full({2, 6}, 1.0F), x, 0)[0].equal(x.to(at::kBFloat16)));
  const at::Tensor bad = at::tensor({1.0F, NAN, 2.0F, 3.0F, 4.0F, 5.0F});
  EXPECT_TRUE(RmsNormRounded(bad, at::ones({6}), 1e-5).isnan().all().item<bool>());
}

void ExpectGatedSiluOfFloat64(at::Device device, const std::vector<int64_t>& widths) {
  for (const int64_t channels : widths) {
    SCOPED_TRACE(fmt::format("{} channels", channels));
    Random random(9);
    const at::Tensor numbers =
        (3 * RandomTensor({3, 11, 2 * channels}, &random)).to(device, at::kBFloat16);
    const at::Tensor upstream = RandomTensor({3, 11, channels}, &random).to(device, at::kBFloat16);
    const at::Tensor exact = Leaf(numbers, at::kDouble);
    const std::vector<at::Tensor> parts = exact.chunk(2, -1);
    const at::Tensor expected = at::silu(parts[0]) * parts[1];
    const at::Tensor by_exact = grad({expected}, {exact}, {upstream.to(at::kDouble)})[0];

    const at::Tensor joined = Leaf(numbers, at::kBFloat16);
    const at::Tensor of_joined = GatedSilu(joined);
    EXPECT_LT(ErrorOf(of_joined.detach(), expected.detach()), kRounding);
    EXPECT_LT(ErrorOf(grad({of_joined}, {joined}, {upstream})[0], by_exact), kRounding);

    const at::Tensor gate = Leaf(numbers.slice(-1, 0, channels), at::kBFloat16);
    const at::Tensor up = Leaf(numbers.slice(-1, channels), at::kBFloat16);
    const at::Tensor of_two = GatedSilu(gate, up);
    EXPECT_TRUE(of_two.equal(of_joined));
    EXPECT_LT(ErrorOf(at::cat(grad({of_two}, {gate, up}, {upstream}), -1), by_exact), kRounding);
  }
}

// Gates far below zero close, those far above let through.
void ExpectFiniteAtTheEnds(at::Device device) {
  const at::Tensor gate = Leaf(
      at::tensor({-1e30, -300.0, -90.0, 0.0, 90.0, 300.0, 1e30, -1e-30}, at::TensorOptions(device)),
      at::kBFloat16);
  const at::Tensor x = GatedSilu(gate, at::ones_like(gate));
  const at::Tensor slope = grad({x}, {gate}, {at::ones_like(x)})[0];
  EXPECT_TRUE(x.detach().slice(0, 0, 2).abs().lt(1e-30).all().item<bool>());
  EXPECT_TRUE(x.detach().slice(0, 4, 7).equal(gate.detach().slice(0, 4, 7)));
  EXPECT_TRUE(slope.isfinite().all().item<bool>());
  EXPECT_EQ(slope[6].item<float>(), 1);
}

TEST(CudaGatedSilu, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectGatedSiluOfFloat64(kKernelDevice, {8, 1000, 1536});
  ExpectFiniteAtTheEnds(kKernelDevice);
}

TEST(GatedSiluRows, AreThoseOfFloat64) {
  ExpectGatedSiluOfFloat64(at::kCPU, {1, 3, 8, 1001, 1536});
  ExpectFiniteAtTheEnds(at::kCPU);
}

struct HeadShape {
  int64_t queries, width;  // R, K
};

class RotationKernels : public testing::TestWithParam<bool> {};

// As attention has them, cut out of joined products, of one query a key and of several; and as no
// product leaves them.
TEST_P(RotationKernels, IsWhatFloat32Gives) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  constexpr int64_t kTexts = 2, kTokens = 37, kGroups = 3;
  for (const HeadShape& shape : {HeadShape{1, 16}, {3, 64}, {2, 48}, {5, 128}, {2, 24}}) {
    const int64_t queries = shape.queries, width = shape.width;
    SCOPED_TRACE(fmt::format("{} queries of {}", queries, width));
    Random random(4);
    const int64_t columns = kGroups * queries * width;
    const at::Tensor pairs = 3 * RandomFloat({kTokens, width / 2}, &random);
    const at::Tensor angles =
        GetParam() ? pairs.repeat_interleave(2, 1) : at::cat({pairs, pairs}, 1);
    const at::Tensor cosine = angles.cos(), sine = angles.sin();
    const at::Tensor joined = RandomBfloat16({kTexts, kTokens, columns + 64}, &random);
    const at::Tensor upstream = RandomBfloat16({kTexts, kGroups, queries, kTokens, width}, &random);
    const auto heads = [&](const at::Tensor& all, int64_t begin) {
      return all.slice(-1, begin, begin + columns)
          .view({kTexts, kTokens, kGroups, queries, width})
          .permute({0, 2, 3, 1, 4});
    };
    for (const int64_t begin : {0, 64, 3}) {  // 3: nothing is where the kernel reads
      const at::Tensor x = Leaf(joined, at::kBFloat16), exact = Leaf(joined, at::kFloat);
      const at::Tensor found = Rotate(heads(x, begin), cosine, sine, GetParam());
      const at::Tensor expected = Rotate(heads(exact, begin), cosine, sine, GetParam());
      EXPECT_EQ(found.scalar_type(), at::kBFloat16);
      EXPECT_LT(ErrorOf(found.detach(), expected.detach()), kRounding);
      EXPECT_LT(ErrorOf(grad({found}, {x}, {upstream})[0],
                        grad({expected}, {exact}, {upstream.to(at::kFloat)})[0]),
                kRounding);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, RotationKernels, testing::Bool());

}  // namespace
}  // namespace coppice
