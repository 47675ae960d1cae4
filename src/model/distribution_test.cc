// Loops and kernels over logits against the same in float64. Those of a GPU are run by
// scripts/test_cuda.
#include "model/distribution.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/kernel_testing.h"

namespace coppice {
namespace {

struct Way {
  at::Device device;
  at::ScalarType dtype;
};

// 50257: not a multiple of four; 4: fewer than threads.
void ExpectThatOfFloat64(const Way& way) {
  for (const int64_t width : {4, 1000, 50257, 49152}) {
    SCOPED_TRACE(fmt::format("{} tokens", width));
    Random random(5);
    constexpr int64_t kRows = 9;
    at::Tensor logits = 6 * RandomTensor({kRows, width}, &random).to(way.device) + 100;
    logits.select(0, 1).fill_(-3);  // even
    logits.select(0, 2)[0] = 1000;  // all else is nothing
    logits.select(0, 3)[2] = 0;     // has no probability
    logits = logits.to(way.dtype);
    const at::Tensor exact = logits.to(at::kDouble);
    const at::Tensor next =
        at::arange(kRows, at::TensorOptions(at::kLong).device(way.device)).remainder(width);
    const at::Tensor log_p = at::log_softmax(exact, 1), p = log_p.exp();

    EXPECT_LT(ErrorOf(LogSumExp(logits), at::logsumexp(exact, 1)), 1e-6);

    at::Tensor found = at::empty(logits.sizes(), logits.options().dtype(at::kFloat));
    const at::Tensor certainty = Probabilities(logits, &found);
    EXPECT_LT(ErrorOf(found, p), 3e-6);
    EXPECT_LT(ErrorOf(certainty, (p * log_p).sum(1)), 3e-6);

    at::Tensor other = (exact + at::randn_like(exact)).to(way.dtype);
    other.select(0, 3)[2] = 99;
    const at::Tensor expected = -(p * at::log_softmax(other.to(at::kDouble), 1)).sum(1);
    EXPECT_LT(ErrorOf(CrossEntropy(p.to(at::kFloat), other), expected), 3e-6);

    at::Tensor gradient = way.device.is_cpu()
                              ? logits.clone()
                              : at::empty(logits.sizes(), logits.options().dtype(at::kBFloat16));
    const at::Tensor likely =
        NextTokenGradient(way.device.is_cpu() ? gradient : logits, next, &gradient);
    EXPECT_LT(ErrorOf(likely, p.gather(1, next.unsqueeze(1)).squeeze(1)), 2e-6);
    const at::Tensor by = p - at::one_hot(next, width);
    // One rounding of a bfloat16.
    EXPECT_LT(ErrorOf(gradient, by), gradient.scalar_type() == at::kFloat ? 2e-6 : 2.5e-3);
    EXPECT_LT((gradient.to(at::kDouble) - by).abs().div(by.abs() + 1e-12).max().item<double>(),
              gradient.scalar_type() == at::kFloat ? 2e-4 : 4e-3);
  }
}

TEST(Distribution, OfBfloat16IsThatOfFloat64) { ExpectThatOfFloat64({at::kCPU, at::kBFloat16}); }

TEST(Distribution, OfFloat32IsThatOfFloat64) { ExpectThatOfFloat64({at::kCPU, at::kFloat}); }

TEST(CudaDistribution, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectThatOfFloat64({kKernelDevice, at::kFloat});
}

TEST(Distribution, OfNaNIsNaN) {
  at::Tensor logits = at::zeros({2, 100}, at::kBFloat16);
  logits[0][3] = NAN;
  logits[1][4] = INFINITY;
  EXPECT_TRUE(LogSumExp(logits).isnan().all().item<bool>());
}

}  // namespace
}  // namespace coppice
