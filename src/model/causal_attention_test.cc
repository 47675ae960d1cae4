// Causal attention against the same in float64, and its gradients against autograd's.
#include "model/causal_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "model/model_testing.h"

namespace coppice {
namespace {

struct Case {
  int64_t tokens, queries;  // queries: heads that share a group's keys
};

class CausalAttentionTest : public testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kRows = 2, kGroups = 3, kKeys = 16, kValues = 8;
  static constexpr double kScale = 0.3;

  CausalAttentionTest() {
    Random random(5);
    const auto [tokens, queries] = GetParam();
    query_ = Rounded({kRows, kGroups, queries, tokens, kKeys}, &random);
    key_ = Rounded({kRows, kGroups, tokens, kKeys}, &random);
    value_ = Rounded({kRows, kGroups, tokens, kValues}, &random);
    upstream_ = Rounded({kRows, kGroups, queries, tokens, kValues}, &random);
  }

  static at::Tensor Rounded(at::IntArrayRef shape, Random* random) {
    return RandomTensor(shape, random).to(at::kBFloat16).requires_grad_();
  }

  // Of float64 tensors, all scores at once.
  static at::Tensor Expected(const at::Tensor& query, const at::Tensor& key,
                             const at::Tensor& value) {
    const int64_t tokens = key.size(2);
    const at::Tensor later = at::ones({tokens, tokens}, at::kBool).triu(1);
    const at::Tensor scores = (at::matmul(query, key.unsqueeze(2).transpose(-1, -2)) * kScale)
                                  .masked_fill(later, -std::numeric_limits<double>::infinity());
    return at::matmul(at::softmax(scores, -1), value.unsqueeze(2));
  }

  // Largest difference as a share of the largest number.
  static double Error(const at::Tensor& found, const at::Tensor& expected) {
    return ((found.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
  }

  at::Tensor query_, key_, value_, upstream_;
};

TEST_P(CausalAttentionTest, MixesAndDifferentiatesAsInFloat64) {
  const auto exact = [](const at::Tensor& x) {
    return x.detach().to(at::kDouble).requires_grad_();
  };
  const at::Tensor query = exact(query_), key = exact(key_), value = exact(value_);
  const at::Tensor expected = Expected(query, key, value);
  const at::Tensor found = CausalAttention(query_, key_, value_, kScale);
  EXPECT_EQ(found.sizes(), expected.sizes());
  EXPECT_LT(Error(found, expected), 0.01);
  const auto by_exact =
      torch::autograd::grad({expected}, {query, key, value}, {upstream_.to(at::kDouble)});
  const auto by_found = torch::autograd::grad({found}, {query_, key_, value_}, {upstream_});
  for (size_t i = 0; i < by_exact.size(); ++i) {
    EXPECT_EQ(by_found[i].scalar_type(), at::kBFloat16);
    EXPECT_LT(Error(by_found[i], by_exact[i]), 0.02) << "input " << i;
  }
}

// Within a block, whole blocks, a block of one token, and more scores than fit one block.
INSTANTIATE_TEST_SUITE_P(Shapes, CausalAttentionTest,
                         testing::Values(Case{3, 2}, Case{70, 1}, Case{256, 3}, Case{257, 2},
                                         Case{513, 8}));

}  // namespace
}  // namespace coppice
