#include "model/causal_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "core/machine_memory.h"
#include "model/causal_softmax.h"

namespace coppice {
namespace {

constexpr int64_t kQueries = 128;                     // of a head at a time
constexpr int64_t kScores = kKeptBlockBytes / 4 - 1;  // at a time

// Some groups' queries from `begin` to `end`, which look at the first `end` keys. N = B * G.
struct Block {
  int64_t first_group, groups, begin, end;

  // (N, R, T, n) -> (groups, R, queries, n)
  at::Tensor Part(const at::Tensor& x) const {
    return x.narrow(0, first_group, groups).slice(2, begin, end);
  }
  // (N, R, T, n) -> (groups, R * queries, n)
  at::Tensor Rows(const at::Tensor& x) const { return Part(x).reshape({groups, -1, x.size(3)}); }
  // (N, T, n) -> (groups, end, n)
  at::Tensor Seen(const at::Tensor& x) const {
    return x.narrow(0, first_group, groups).slice(1, 0, end);
  }
};

// query: (N, R, T, K).
std::vector<Block> BlocksOf(const at::Tensor& query) {
  const int64_t all = query.size(0), tokens = query.size(2);
  const int64_t of_group = query.size(1) * std::min(kQueries, tokens) * tokens;  // scores
  const int64_t groups = std::clamp(kScores / of_group, int64_t{1}, all);
  std::vector<Block> blocks;
  for (int64_t first = 0; first < all; first += groups) {
    for (int64_t begin = 0; begin < tokens; begin += kQueries)
      blocks.push_back(
          {first, std::min(groups, all - first), begin, std::min(begin + kQueries, tokens)});
  }
  return blocks;
}

// softmax(Q K' scale), (groups, R * queries, end) bfloat16. queries: (groups, R * queries, K);
// keys: (groups, end, K). exact: as in CausalSoftmax().
at::Tensor Shares(const Block& block, const at::Tensor& queries, const at::Tensor& keys,
                  double scale, const at::Tensor& exact = {}) {
  const at::Tensor scores = at::bmm(queries, keys.transpose(1, 2));
  CausalSoftmax(scores, block.end - block.begin, scale, exact);
  return scores;
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  // query: (N, R, T, K); key: (N, T, K); value: (N, T, F); the result: (N, R, T, F).
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value, double scale) {
    context->save_for_backward({query, key, value});
    context->saved_data["scale"] = scale;
    std::vector<int64_t> shape = query.sizes().vec();
    shape.back() = value.size(2);
    at::Tensor mixed = at::empty(shape, query.options());
    for (const Block& block : BlocksOf(query)) {
      const at::Tensor shares = Shares(block, block.Rows(query), block.Seen(key), scale);
      const at::Tensor part = block.Part(mixed);
      part.copy_(at::bmm(shares, block.Seen(value)).view(part.sizes()));
    }
    return mixed;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_result) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &key = saved[1], &value = saved[2];
    const double scale = context->saved_data["scale"].toDouble();
    const at::ScalarType dtype = query.scalar_type();
    const at::Tensor by_query = at::empty(query.sizes(), query.options());
    const at::Tensor by_key = at::zeros(key.sizes(), key.options().dtype(at::kFloat));
    const at::Tensor by_value = at::zeros(value.sizes(), value.options().dtype(at::kFloat));
    for (const Block& block : BlocksOf(query)) {
      const at::Tensor queries = block.Rows(query), keys = block.Seen(key);
      const at::Tensor by_mixed = block.Rows(by_result[0]);
      const at::Tensor exact =
          at::empty({block.groups, queries.size(1), block.end}, query.options().dtype(at::kFloat));
      const at::Tensor shares = Shares(block, queries, keys, scale, exact);
      block.Seen(by_value).add_(at::bmm(shares.transpose(1, 2), by_mixed));
      const at::Tensor by_scores = at::bmm(by_mixed, block.Seen(value).transpose(1, 2));
      CausalSoftmaxGradient(by_scores, exact, block.end - block.begin, scale);
      const at::Tensor part = block.Part(by_query);
      part.copy_(at::bmm(by_scores, keys).view(part.sizes()));
      block.Seen(by_key).add_(at::bmm(by_scores.transpose(1, 2), queries));
    }
    return {by_query, by_key.to(dtype), by_value.to(dtype), at::Tensor()};
  }
};

}  // namespace

at::Tensor CausalAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           double scale) {
  return Attention::apply(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), scale)
      .unflatten(0, {query.size(0), query.size(1)});
}

}  // namespace coppice
