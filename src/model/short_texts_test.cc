// The kernels for short texts against the same in float64, and their gradients against autograd's.
// On a CUDA device alone; scripts/test_cuda runs them.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <ostream>

#include "model/encoder_testing.h"
#include "model/kernel_testing.h"
#include "model/relative_buckets.h"
#include "model/residual_norm.h"
#include "model/short_attention.h"
#include "model/text_gelu.h"

namespace coppice {
namespace {

using torch::autograd::grad;

// Two bfloat16 roundings, of what is multiplied and of the result.
constexpr double kRounding = 4e-3;

struct Case {
  std::vector<int64_t> lengths;
  int64_t heads, keys, values;
  bool biased;
};

// Without it a test's name would have the bytes of pointers in it.
void PrintTo(const Case& one, std::ostream* out) {
  *out << one.lengths.size() << " texts, " << one.heads << " heads of " << one.keys << " and "
       << one.values << (one.biased ? ", biased" : "");
}

class ShortAttentionKernels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    const Case& one = GetParam();
    Random random(5);
    batch_ = BatchOf(one.lengths, 10, kKernelDevice);
    sub_.units = one.heads;
    sub_.key_width = one.keys;
    sub_.width = one.values;
    sub_.scale = 0.2;
    sub_.in.resize(1);
    texts_ = batch_.ids.size(0);
    tokens_ = batch_.ids.size(1);
    if (one.biased) {
      sub_.relative_bias = RandomTensor({32, one.heads}, &random).to(kKernelDevice);
      buckets_ = RelativeBuckets(tokens_, 32, at::TensorOptions(at::kLong).device(kKernelDevice));
      distance_ = at::cat({buckets_[tokens_ - 1], buckets_[0].slice(0, 1)});
    }
    joined_ = RandomBfloat16({texts_, tokens_, one.heads * (2 * one.keys + one.values)}, &random);
    upstream_ = RandomBfloat16({texts_, tokens_, one.heads * one.values}, &random) *
                batch_.mask.unsqueeze(2);
  }

  // joined: (B, T, n) float64.
  at::Tensor Expected(const at::Tensor& joined) const {
    const int64_t keys = sub_.units * sub_.key_width;
    const std::vector<at::Tensor> parts =
        joined.split_with_sizes({keys, keys, sub_.units * sub_.width}, 2);
    const auto heads = [&](const at::Tensor& x) {
      return x.view({texts_, tokens_, sub_.units, -1}).transpose(1, 2);
    };
    at::Tensor scores = at::matmul(heads(parts[0]), heads(parts[1]).transpose(2, 3)) * sub_.scale;
    if (sub_.relative_bias.defined()) {
      scores = scores + sub_.relative_bias.to(at::kDouble)
                            .index_select(0, buckets_.flatten())
                            .view({tokens_, tokens_, sub_.units})
                            .permute({2, 0, 1});
    }
    scores = scores.masked_fill(batch_.mask.logical_not().unsqueeze(1).unsqueeze(1),
                                -std::numeric_limits<double>::infinity());
    return at::matmul(at::softmax(scores, -1), heads(parts[2]))
        .transpose(1, 2)
        .reshape({texts_, tokens_, -1});
  }

  void Compare(const TextRows& texts) const {
    const auto rows = [&](const at::Tensor& x) { return RealRows(batch_, x); };
    const auto taken = [&](const at::Tensor& x) { return texts.packed ? rows(x) : x; };
    const auto real = [&](const at::Tensor& x) { return texts.packed ? x : rows(x); };
    const at::Tensor exact = joined_.to(at::kDouble).requires_grad_();
    const at::Tensor expected = Expected(exact);
    const at::Tensor by_exact = grad({expected}, {exact}, {upstream_.to(at::kDouble)})[0];
    const at::Tensor by_mask = (expected.detach() * upstream_)
                                   .view({texts_, tokens_, sub_.units, -1})
                                   .sum(at::IntArrayRef{1, 3});
    const at::Tensor joined = taken(joined_).detach().requires_grad_();
    const at::Tensor mask =
        at::ones({texts_, sub_.units}, by_mask.options().dtype(at::kFloat)).requires_grad_();
    const at::Tensor mixed = ShortAttention(sub_, joined, texts, distance_, mask);
    const std::vector<at::Tensor> found = grad({mixed}, {joined, mask}, {taken(upstream_)});
    EXPECT_LT(ErrorOf(real(mixed.detach()), rows(expected.detach())), kRounding);
    EXPECT_LT(ErrorOf(real(found[0]), rows(by_exact)), tokens_ == 1 ? 1e-2 : kRounding);
    EXPECT_LT(ErrorOf(found[1], by_mask), 1e-5);
    if (texts.packed || !batch_.padded) return;
    const at::Tensor padding = batch_.mask.logical_not().unsqueeze(2);
    EXPECT_EQ((mixed.detach() * padding).abs().max().item<double>(), 0);
    EXPECT_EQ((found[0] * padding).abs().max().item<double>(), 0);
  }

  SubLayer sub_;
  Batch batch_;
  int64_t texts_ = 0, tokens_ = 0;
  at::Tensor buckets_, distance_, joined_, upstream_;
};

TEST_P(ShortAttentionKernels, IsThatOfFloat64) {
  for (const TextRows& texts : {PaddedRows(batch_), PackedRows(batch_)}) {
    SCOPED_TRACE(texts.packed ? "packed" : "padded");
    Compare(texts);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cuda, ShortAttentionKernels,
    testing::Values(Case{{1}, 2, 16, 16, false}, Case{{1, 3, 2}, 1, 64, 64, true},
                    Case{{7, 7}, 3, 32, 32, true}, Case{{16, 1, 9, 25}, 12, 64, 64, true},
                    Case{{33, 8, 42}, 5, 64, 48, true}, Case{{64, 63}, 4, 64, 64, false},
                    Case{{65, 128, 17}, 3, 64, 64, true}, Case{{128, 5}, 2, 128, 128, true},
                    Case{{40, 31}, 3, 96, 128, true}, Case{{20, 19}, 7, 80, 112, false},
                    Case{{31, 2}, 1, 128, 16, true}));

TEST(CudaTextGelu, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (const std::vector<int64_t>& lengths :
       {std::vector<int64_t>{1}, {5, 3, 1}, {25, 25}, {130, 64, 65, 2}}) {
    for (const int64_t channels : {8, 1000, 3072}) {
      Random random(9);
      const Batch batch = BatchOf(lengths, 10, kKernelDevice);
      const int64_t texts = batch.ids.size(0), tokens = batch.ids.size(1);
      const at::Tensor numbers = 2 * RandomBfloat16({texts, tokens, channels}, &random);
      const at::Tensor upstream =
          RandomBfloat16({texts, tokens, channels}, &random) * batch.mask.unsqueeze(2);
      const at::Tensor exact = numbers.to(at::kDouble).requires_grad_();
      const at::Tensor expected = at::gelu(exact);
      const at::Tensor by_exact = grad({expected}, {exact}, {upstream.to(at::kDouble)})[0];
      const at::Tensor by_mask = (expected.detach() * upstream).sum(1);
      for (const TextRows& rows : {PaddedRows(batch), PackedRows(batch)}) {
        const auto taken = [&](const at::Tensor& all) {
          return rows.packed ? RealRows(batch, all) : all;
        };
        const at::Tensor x = taken(numbers).detach().requires_grad_();
        const at::Tensor mask =
            at::ones({texts, channels}, by_mask.options().dtype(at::kFloat)).requires_grad_();
        const at::Tensor y = TextGelu(x, rows, mask);
        const std::vector<at::Tensor> found = grad({y}, {x, mask}, {taken(upstream)});
        EXPECT_LT(ErrorOf(y.detach(), taken(expected.detach())), kRounding);
        EXPECT_LT(ErrorOf(found[0], taken(by_exact)), kRounding);
        EXPECT_LT(ErrorOf(found[1], by_mask), 1e-4);
      }
    }
  }
}

// Where most of the result is gone, too: the relative error is a bfloat16's.
TEST(CudaTextGelu, KeepsTheDigitsOfItsTail) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor x =
      at::linspace(-5.5, 9, 4001, at::TensorOptions(kKernelDevice)).to(at::kBFloat16);
  const at::Tensor found = TextGelu(x.view({1, 1, -1}), {1, 1, false, {}, {}}, {}).flatten();
  const at::Tensor expected = at::gelu(x.to(at::kDouble));
  const at::Tensor error = (found.to(at::kDouble) - expected).abs();
  EXPECT_LT((error - 0.0045 * expected.abs()).max().item<double>(), 1e-30);
}

TEST(CudaResidualNorm, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (const int64_t width : {16, 132, 384, 640, 768, 1024}) {
    for (const bool biased : {false, true}) {
      SCOPED_TRACE(fmt::format("{} columns, bias {}", width, biased));
      Random random(13);
      const Network net = RandomEncoder({.width = width, .heads = {1}, .channels = {8}},
                                        {kKernelDevice, at::kBFloat16});
      SubLayer sub = net.sub_layers[0];
      if (!biased) sub.out.bias.reset();
      const at::Tensor hidden =
          (3 * RandomTensor({3, 5, width}, &random) + 1).to(kKernelDevice).requires_grad_();
      const at::Tensor inputs = RandomBfloat16({3, 5, 32}, &random).requires_grad_();
      const at::Tensor branch =
          at::zeros({1}, at::TensorOptions(kKernelDevice)).expand({3, 5, width}).requires_grad_();
      const at::Tensor by_exact = RandomTensor({3, 5, width}, &random).to(kKernelDevice);
      const at::Tensor by_rounded = RandomBfloat16({3, 5, width}, &random);

      const at::Tensor h = hidden.detach().to(at::kDouble).requires_grad_();
      const at::Tensor x = inputs.detach().to(at::kDouble).requires_grad_();
      at::Tensor sum = h + at::matmul(x, sub.out.weight.to(at::kDouble).t());
      if (biased) sum = sum + sub.out.bias.to(at::kDouble);
      const at::Tensor expected = at::layer_norm(sum, {width}, sub.norm.weight.to(at::kDouble),
                                                 sub.norm.bias.to(at::kDouble), net.spec.norm_eps);
      const std::vector<at::Tensor> wanted =
          grad({expected}, {h, x}, {by_exact.to(at::kDouble) + by_rounded.to(at::kDouble)});

      const Hidden stream = ProjectAndNorm(net, sub, hidden, inputs, branch);
      const std::vector<at::Tensor> found =
          grad({stream.exact, stream.rounded}, {hidden, inputs, branch}, {by_exact, by_rounded});
      EXPECT_LT(ErrorOf(stream.exact.detach(), expected.detach()), 1e-6);
      EXPECT_TRUE(stream.rounded.equal(stream.exact.to(at::kBFloat16)));
      EXPECT_LT(ErrorOf(found[0], wanted[0]), 1e-6);
      EXPECT_LT(ErrorOf(found[1], wanted[1]), kRounding);
      EXPECT_TRUE(found[2].equal(found[0]));
      const Hidden alone = ProjectAndNorm(net, sub, hidden, inputs, {});
      const at::Tensor by_hidden = grad({alone.rounded}, {hidden}, {by_rounded})[0];
      EXPECT_LT(ErrorOf(by_hidden, grad({ProjectAndNorm(net, sub, hidden, inputs, {}).exact},
                                        {hidden}, {by_rounded.to(at::kFloat)})[0]),
                1e-6);
    }
  }
}

TEST(CudaShortTexts, PackedEmbeddingsAreThoseOfThePadded) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const Batch batch = BatchOf({9, 1, 30}, 50, kKernelDevice);
  for (const PositionRule rule : {PositionRule::kFromZero, PositionRule::kAfterPadding}) {
    Network net = RandomEncoder({}, {kKernelDevice, at::kBFloat16});
    net.spec.positions = rule;
    if (rule == PositionRule::kFromZero) {
      for (at::Tensor* table : {&net.word, &net.position, &net.token_type})
        *table = table->to(at::kBFloat16);
    }
    const AttentionContext context = MakePackedContext(net, batch);
    ASSERT_TRUE(context.texts.packed);
    const Hidden stream = Begin(net, batch, context);
    EXPECT_LT(ErrorOf(stream.exact, RealRows(batch, Embed(net, batch))), 1e-6);
    EXPECT_TRUE(stream.rounded.equal(stream.exact.to(at::kBFloat16)));
  }
}

// Rows of padding, as where units are observed.
TEST(CudaShortTexts, PackedRowsGiveWhatPaddedOnesGive) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  at::NoGradGuard no_gradients;
  const Batch batch = BatchOf({9, 1, 30, 30}, 50, kKernelDevice);
  const Network net = RandomEncoder({}, {kKernelDevice, at::kBFloat16});
  const AttentionContext context = MakeContext(net, batch);
  ASSERT_TRUE(context.is_short);
  at::Tensor hidden = Embed(net, batch);
  for (const SubLayer& sub : net.sub_layers)
    hidden = AddBranch(net, sub, hidden, Project(sub, UnitInputs(net, sub, hidden, context)));
  const at::Tensor packed = RunSubLayers(net, batch);
  EXPECT_LT(ErrorOf(RealRows(batch, packed), RealRows(batch, hidden)), 1e-3);
  EXPECT_TRUE(hidden.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace coppice
