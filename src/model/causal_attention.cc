#include "model/causal_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace coppice {
namespace {

// Queries at a time are a multiple of kStep up to kMost, with at most kScores scores where that
// leaves any: those should be in the caches.
constexpr int64_t kStep = 16, kMost = 128, kScores = int64_t{1} << 20;

// Queries from `begin` to `end`, which look at the first `end` keys.
struct Block {
  int64_t begin, end;

  int64_t queries() const { return end - begin; }

  // (B, G, R, T, n) -> (B * G, R * queries, n)
  at::Tensor Of(const at::Tensor& x) const {
    return x.slice(3, begin, end).reshape({x.size(0) * x.size(1), -1, x.size(4)});
  }
};

// query: (B, G, R, T, K).
std::vector<Block> BlocksOf(const at::Tensor& query) {
  const int64_t tokens = query.size(3);
  const int64_t scores = query.size(0) * query.size(1) * query.size(2) * tokens;  // of one token
  const int64_t queries = std::clamp(kScores / scores / kStep * kStep, kStep, kMost);
  std::vector<Block> blocks;
  for (int64_t begin = 0; begin < tokens; begin += queries)
    blocks.push_back({begin, std::min(begin + queries, tokens)});
  return blocks;
}

// query: (B * G, R * queries, K); key: (B * G, T, K); the result: (B * G, R * queries, end)
// float32.
at::Tensor Probabilities(const Block& block, const at::Tensor& query, const at::Tensor& key,
                         double scale) {
  at::Tensor scores = at::bmm(query, key.slice(1, 0, block.end).transpose(1, 2)).to(at::kFloat);
  scores.mul_(scale);
  const at::Tensor later =
      at::ones({block.queries(), block.queries()}, query.options().dtype(at::kBool)).triu(1);
  scores.view({scores.size(0), -1, block.queries(), block.end})
      .slice(3, block.begin, block.end)
      .masked_fill_(later, -std::numeric_limits<double>::infinity());
  return at::softmax(scores, -1);
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value, double scale) {
    context->save_for_backward({query, key, value});
    context->saved_data["scale"] = scale;
    std::vector<int64_t> shape = query.sizes().vec();
    shape.back() = value.size(3);
    const at::Tensor keys = key.flatten(0, 1), values = value.flatten(0, 1);
    at::Tensor mixed = at::empty(shape, query.options());
    for (const Block& block : BlocksOf(query)) {
      const at::Tensor shares = Probabilities(block, block.Of(query), keys, scale);
      const at::Tensor part = mixed.slice(3, block.begin, block.end);
      part.copy_(at::bmm(shares.to(values.scalar_type()), values.slice(1, 0, block.end))
                     .view(part.sizes()));
    }
    return mixed;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_result) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &key = saved[1], &value = saved[2];
    const double scale = context->saved_data["scale"].toDouble();
    const at::ScalarType dtype = query.scalar_type();
    const at::Tensor keys = key.flatten(0, 1), values = value.flatten(0, 1);
    const at::Tensor by_query = at::empty(query.sizes(), query.options());
    const at::Tensor by_keys = at::zeros(keys.sizes(), keys.options().dtype(at::kFloat));
    const at::Tensor by_values = at::zeros(values.sizes(), values.options().dtype(at::kFloat));
    for (const Block& block : BlocksOf(query)) {
      const at::Tensor queries = block.Of(query), by_mixed = block.Of(by_result[0]);
      const at::Tensor shares = Probabilities(block, queries, keys, scale);
      by_values.slice(1, 0, block.end).add_(at::bmm(shares.to(dtype).transpose(1, 2), by_mixed));
      const at::Tensor by_shares =
          at::bmm(by_mixed, values.slice(1, 0, block.end).transpose(1, 2)).to(at::kFloat);
      const at::Tensor by_scores =
          at::_softmax_backward_data(by_shares, shares, -1, at::kFloat).mul_(scale).to(dtype);
      const at::Tensor part = by_query.slice(3, block.begin, block.end);
      part.copy_(at::bmm(by_scores, keys.slice(1, 0, block.end)).view(part.sizes()));
      by_keys.slice(1, 0, block.end).add_(at::bmm(by_scores.transpose(1, 2), queries));
    }
    return {by_query, by_keys.view(key.sizes()).to(dtype), by_values.view(value.sizes()).to(dtype),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor CausalAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           double scale) {
  return Attention::apply(query, key, value, scale);
}

}  // namespace coppice
