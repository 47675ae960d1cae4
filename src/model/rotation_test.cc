// Rotation against complex numbers in float64, and its gradient against the same.
#include "model/rotation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/model_testing.h"

namespace coppice {
namespace {

constexpr int64_t kTokens = 5, kNumbers = 8, kPairs = kNumbers / 2;

// (..., T, K) float64 -> complex pairs (..., T, K / 2).
at::Tensor Pairs(const at::Tensor& x, bool neighbours) {
  const at::Tensor parts =
      neighbours ? x.unflatten(-1, {kPairs, 2}) : x.unflatten(-1, {2, kPairs}).transpose(-1, -2);
  return at::complex(parts.select(-1, 0), parts.select(-1, 1));
}

class RotationTest : public testing::TestWithParam<bool> {
 protected:
  RotationTest() {
    Random random(3);
    x_ = RandomTensor({2, 3, kTokens, kNumbers}, &random);
    upstream_ = RandomTensor({2, 3, kTokens, kNumbers}, &random);
    angles_ = RandomTensor({kTokens, kPairs}, &random).to(at::kDouble);
    const at::Tensor each =
        GetParam() ? angles_.repeat_interleave(2, 1) : at::cat({angles_, angles_}, 1);
    cosine_ = each.cos().to(at::kFloat);
    sine_ = each.sin().to(at::kFloat);
  }

  // x turned by `sign` times the angles.
  at::Tensor Expected(const at::Tensor& x, double sign) const {
    const at::Tensor turn = at::complex((sign * angles_).cos(), (sign * angles_).sin());
    return Pairs(x.to(at::kDouble), GetParam()) * turn;
  }

  at::Tensor x_, upstream_, angles_, cosine_, sine_;
};

TEST_P(RotationTest, TurnsPairsByTheirAngles) {
  const at::Tensor turned = Rotate(x_, cosine_, sine_, GetParam());
  const at::Tensor found = Pairs(turned.to(at::kDouble), GetParam());
  EXPECT_LT((found - Expected(x_, 1)).abs().max().item<double>(), 1e-6);
}

TEST_P(RotationTest, GradientsTurnTheOtherWay) {
  const at::Tensor x = x_.clone().requires_grad_();
  const at::Tensor gradient =
      torch::autograd::grad({Rotate(x, cosine_, sine_, GetParam())}, {x}, {upstream_})[0];
  const at::Tensor found = Pairs(gradient.to(at::kDouble), GetParam());
  EXPECT_LT((found - Expected(upstream_, -1)).abs().max().item<double>(), 1e-6);
}

// Not contiguous, as attention has them; the result is rounded once.
TEST_P(RotationTest, RoundsBfloat16Once) {
  const at::Tensor x = x_.to(at::kBFloat16).transpose(1, 2).contiguous().transpose(1, 2);
  const at::Tensor exact = Rotate(x.to(at::kFloat), cosine_, sine_, GetParam());
  const at::Tensor found = Rotate(x, cosine_, sine_, GetParam());
  EXPECT_EQ(found.scalar_type(), at::kBFloat16);
  EXPECT_LE(
      ((found.to(at::kFloat) - exact).abs() / exact.abs().clamp_min(1e-3)).max().item<float>(),
      1.0F / 256);
}

INSTANTIATE_TEST_SUITE_P(Pairs, RotationTest, testing::Bool());

}  // namespace
}  // namespace coppice
