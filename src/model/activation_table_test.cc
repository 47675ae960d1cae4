// Against LibTorch's activations in float64, and their gradients against autograd's.
#include "model/activation_table.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/device.h"
#include "model/linear.h"

namespace coppice {
namespace {

// Every bfloat16, in an odd number of odd rows: not a number and infinities included.
at::Tensor EveryNumber() {
  const at::Tensor bits = at::arange(1 << 16, at::kInt).to(at::kShort);
  return at::cat({bits.view(at::kBFloat16), at::zeros({83}, at::kBFloat16)}).view({3, 21873});
}

class ActivationTable : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { UseThreads(GetParam()); }
  void TearDown() override { UseThreads(1); }
};

TEST_P(ActivationTable, IsFloat64Rounded) {
  at::manual_seed(0);
  const at::Tensor numbers = EveryNumber();
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kSilu}) {
    const at::Tensor x = numbers.clone().requires_grad_();
    const at::Tensor exact = numbers.to(at::kDouble).requires_grad_();
    const at::Tensor upstream = at::randn(numbers.sizes()).to(at::kBFloat16);
    ASSERT_TRUE(HasTable(x, activation));
    const at::Tensor found = Activate(x, activation);
    const at::Tensor expected = Activate(exact, activation);
    EXPECT_TRUE(at::allclose(found.detach(), expected.detach().to(at::kBFloat16), 0, 0,
                             /*equal_nan=*/true));
    const at::Tensor by_x = torch::autograd::grad({found}, {x}, {upstream})[0];
    const at::Tensor by_exact =
        torch::autograd::grad({expected}, {exact}, {upstream.to(at::kDouble)})[0];
    EXPECT_TRUE(at::allclose(by_x.to(at::kDouble), by_exact, 4e-3, 1e-37, /*equal_nan=*/true));
    EXPECT_TRUE(at::allclose(Activate(numbers.t(), activation), found.detach().t(), 0, 0,
                             /*equal_nan=*/true));
  }
  EXPECT_FALSE(HasTable(numbers.to(at::kFloat), Activation::kGelu));
  EXPECT_FALSE(HasTable(numbers, Activation::kRelu));
  EXPECT_EQ(Activate(at::empty({3, 0}, at::kBFloat16), Activation::kGelu).numel(), 0);
}

INSTANTIATE_TEST_SUITE_P(Threads, ActivationTable, testing::Values(1, 3));

}  // namespace
}  // namespace coppice
