// Against the head as a whole, and autograd through it.
#include "model/logits.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "model/forward.h"
#include "model/model_testing.h"

namespace coppice {
namespace {

constexpr int64_t kVocabulary = 5000, kWidth = 8;
constexpr int64_t kRows = 4000;  // two products, of which twenty parts are used

Network HeadOnly(at::ScalarType dtype) {
  at::manual_seed(0);
  Network net;
  net.spec.task = Task::kLanguageModel;
  net.spec.width = kWidth;
  net.spec.norm_eps = 1e-5;
  net.compute.dtype = dtype;
  net.final_norm.weight = at::rand({kWidth}) + 0.5;
  net.output = at::randn({kVocabulary, kWidth}).to(dtype);
  return net;
}

TEST(ForLogits, GivesEveryRowOnce) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Network net = HeadOnly(dtype);
    const at::Tensor hidden = at::randn({kRows, kWidth});
    const at::Tensor expected = ApplyHead(net, hidden, {});
    at::Tensor room;
    for (const int64_t rows : {kRows, int64_t{1}, int64_t{0}, kRows - 1}) {  // in the same room
      int64_t next = 0;
      double largest = 0;
      const auto look = [&](const at::Tensor& logits, int64_t begin) {
        EXPECT_EQ(begin, next);
        EXPECT_EQ(logits.scalar_type(), dtype);
        next += logits.size(0);
        largest = std::max(largest, MaxDifference(logits.to(at::kFloat),
                                                  expected.narrow(0, begin, logits.size(0))));
      };
      ForLogits(net, hidden.slice(0, 0, rows), look, &room);
      EXPECT_EQ(next, rows);
      EXPECT_LT(largest, dtype == at::kFloat ? 1e-5 : 0.07);  // half a bfloat16 at 16
    }
  }
}

TEST(GradientThroughLogits, IsThatOfAutograd) {
  const Network net = HeadOnly(at::kFloat);
  const at::Tensor hidden = at::randn({kRows, kWidth}).requires_grad_();
  const at::Tensor loss = ApplyHead(net, hidden, {}).square().sum() / 2;
  const at::Tensor expected = torch::autograd::grad({loss}, {hidden})[0];
  const at::Tensor found = GradientThroughLogits(
      net, hidden, [](const at::Tensor& logits, int64_t, at::Tensor* by) { by->copy_(logits); });
  EXPECT_LT(MaxDifference(found, expected), 1e-4 * expected.abs().max().item<double>());
}

}  // namespace
}  // namespace coppice
