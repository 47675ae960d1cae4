// Against the same in float64, and its gradients against autograd's.
#include "model/text_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <vector>

#include "model/device.h"
#include "model/encoder_testing.h"
#include "model/kernel_testing.h"

namespace coppice {
namespace {

using torch::autograd::grad;

struct Case {
  std::vector<int64_t> lengths;
  int64_t heads, keys, values;
  bool biased;
};

SubLayer HeadsOf(const Case& one) {
  SubLayer sub;
  sub.units = one.heads;
  sub.key_width = one.keys;
  sub.width = one.values;
  sub.scale = 0.2;
  sub.in = {{at::empty({0, 0}, at::kBFloat16), {}}};
  return sub;
}

// joined: (B, T, n) float64; bias: (H, T, T).
at::Tensor Expected(const SubLayer& sub, const at::Tensor& joined, const at::Tensor& mask,
                    const at::Tensor& bias) {
  const int64_t keys = sub.units * sub.key_width;
  const std::vector<at::Tensor> parts =
      joined.split_with_sizes({keys, keys, sub.units * sub.width}, 2);
  const auto heads = [&](const at::Tensor& x) {
    return x.view({x.size(0), x.size(1), sub.units, -1}).transpose(1, 2);
  };
  at::Tensor scores = at::matmul(heads(parts[0]), heads(parts[1]).transpose(2, 3)) * sub.scale;
  if (bias.defined()) scores = scores + bias.to(at::kDouble);
  scores = scores.masked_fill(mask.logical_not().unsqueeze(1).unsqueeze(1),
                              -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1), heads(parts[2]))
      .transpose(1, 2)
      .reshape({joined.size(0), joined.size(1), -1});
}

class TextAttentionTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { UseThreads(GetParam()); }
  void TearDown() override { UseThreads(1); }
};

TEST_P(TextAttentionTest, IsThatOfFloat64) {
  for (const Case& one : {Case{{1}, 2, 16, 16, false},
                          {{7, 7}, 3, 32, 32, true},
                          {{16, 1, 9, 25}, 12, 64, 64, true},
                          {{33, 8, 42}, 5, 64, 48, false},
                          {{5, 3}, 1, 7, 13, true},
                          {{150, 31}, 3, 20, 24, true}}) {
    SCOPED_TRACE(fmt::format("{} texts, {} heads", one.lengths.size(), one.heads));
    Random random(5);
    const Batch batch = BatchOf(one.lengths, 10, at::kCPU);
    const TextRows texts = PaddedRows(batch);
    const SubLayer sub = HeadsOf(one);
    ASSERT_TRUE(HasTextAttention(sub));
    const int64_t tokens = batch.ids.size(1);
    const std::vector<int64_t> shape = {texts.texts, tokens,
                                        one.heads * (2 * one.keys + one.values)};
    const at::Tensor joined = RandomTensor(shape, &random).to(at::kBFloat16).requires_grad_();
    const at::Tensor upstream =
        RandomTensor({texts.texts, tokens, one.heads * one.values}, &random).to(at::kBFloat16);
    at::Tensor bias;
    if (one.biased) bias = RandomTensor({one.heads, tokens, tokens}, &random);
    const at::Tensor exact = joined.detach().to(at::kDouble).requires_grad_();
    const at::Tensor expected = Expected(sub, exact, batch.mask, bias);
    const at::Tensor wanted = grad({expected}, {exact}, {upstream.to(at::kDouble)})[0];

    const at::Tensor mixed = TextAttention(sub, joined, texts, bias);
    const at::Tensor found = grad({mixed}, {joined}, {upstream})[0];
    // Scores, shares and results are rounded, each to 2^-9 of it at most.
    EXPECT_LT(ErrorOf(mixed.detach(), expected.detach()), 5e-3);
    EXPECT_LT(ErrorOf(found, wanted), 1e-2);
    UseThreads(1);
    const at::Tensor alone = TextAttention(sub, joined, texts, bias);
    EXPECT_TRUE(alone.equal(mixed));
    EXPECT_TRUE(grad({alone}, {joined}, {upstream})[0].equal(found));
    UseThreads(GetParam());
  }
}

// What is no number stays in its text; padding has no part in any.
TEST_P(TextAttentionTest, KeepsNoNumbersApart) {
  const Batch batch = BatchOf({4, 2, 4}, 10, at::kCPU);
  const SubLayer sub = HeadsOf({{}, 2, 8, 8, false});
  Random random(6);
  const at::Tensor joined = RandomTensor({3, 4, 48}, &random).to(at::kBFloat16);
  const at::Tensor before = TextAttention(sub, joined, PaddedRows(batch), {});
  joined[0][1][3] = NAN;
  joined[1].slice(0, 2).fill_(30);
  const at::Tensor after = TextAttention(sub, joined, PaddedRows(batch), {});
  EXPECT_TRUE(after[0][1].isnan().any().item<bool>());
  EXPECT_TRUE(after[1].slice(0, 0, 2).equal(before[1].slice(0, 0, 2)));
  EXPECT_TRUE(after[2].equal(before[2]));
}

// Far from the largest nothing is left, and bias decides.
TEST(SoftmaxRows, OfABias) {
  const SubLayer sub = HeadsOf({{}, 1, 8, 8, false});
  const at::Tensor joined = at::zeros({1, 3, 24}, at::kBFloat16);
  joined[0].slice(1, 16).copy_(at::arange(3).unsqueeze(1).expand({3, 8}));
  const at::Tensor bias = at::full({1, 3, 3}, -1e4F);
  for (int64_t t = 0; t < 3; ++t) bias[0][t][2 - t] = 1e4F;
  const at::Tensor mixed = TextAttention(sub, joined, {1, 3, false, {}, {}}, bias);
  EXPECT_TRUE(
      mixed[0].select(1, 0).to(at::kFloat).allclose(at::tensor({2.0F, 1.0F, 0.0F}), 0, 1e-37));
}

INSTANTIATE_TEST_SUITE_P(Threads, TextAttentionTest, testing::Values(1, 3));

}  // namespace
}  // namespace coppice
