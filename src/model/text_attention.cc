#include "model/text_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "model/cpu_loops.h"
#include "model/optional_tensor.h"
#include "model/softmax_rows.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Calls each(a token's columns of a head, where they stand among heads') for all rows of `heads`
// and the columns of `joined` from `first` on. joined: (B, T, n); heads: (B * H, T, width).
template <typename Each>
void ForHeads(const at::Tensor& joined, int64_t first, const at::Tensor& heads, const Each& each) {
  const int64_t texts = joined.size(0), tokens = joined.size(1), columns = joined.size(2);
  const int64_t units = heads.size(0) / texts, width = heads.size(2);
  at::parallel_for(0, texts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * tokens; row < end * tokens; ++row) {
      for (int64_t unit = 0; unit < units; ++unit) {
        const int64_t head = row / tokens * units + unit;
        each(row * columns + first + unit * width, (head * tokens + row % tokens) * width);
      }
    }
  });
}

// (B * H, T, width) of the columns from `first` on.
at::Tensor HeadsOf(const at::Tensor& joined, int64_t first, int64_t units, int64_t width) {
  at::Tensor heads = at::empty({joined.size(0) * units, joined.size(1), width}, joined.options());
  const uint16_t* from = Bits(joined);
  uint16_t* to = MutableBits(heads);
  ForHeads(joined, first, heads, [&](int64_t in_joined, int64_t in_heads) {
    std::copy_n(from + in_joined, width, to + in_heads);
  });
  return heads;
}

// The other way.
void PutHeads(const at::Tensor& heads, int64_t first, const at::Tensor& joined) {
  const at::Tensor rows = heads.contiguous();
  const int64_t width = heads.size(2);
  const uint16_t* from = Bits(rows);
  uint16_t* to = MutableBits(joined);
  ForHeads(joined, first, heads, [&](int64_t in_joined, int64_t in_heads) {
    std::copy_n(from + in_heads, width, to + in_joined);
  });
}

// What a text's tokens see of (B * H, T, T) scores.
struct Seen {
  int64_t units;
  double scale;
  at::Tensor lengths;  // (B) int64 or undefined
  at::Tensor bias;     // (H, T, T) float32 or undefined

  // Of row `row` of the scores.
  int64_t Count(int64_t row, int64_t tokens) const {
    return lengths.defined() ? lengths.const_data_ptr<int64_t>()[row / tokens / units] : tokens;
  }

  // scores -> shares, zeros behind a text's end. exact: the same in float32, of what is seen.
  at::Tensor Shares(const at::Tensor& scores, const at::Tensor& exact) const {
    const int64_t tokens = scores.size(2);
    at::Tensor shares = at::empty(scores.sizes(), scores.options());
    const uint16_t* from = Bits(scores);
    const float* added = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
    float* unrounded = exact.defined() ? exact.mutable_data_ptr<float>() : nullptr;
    uint16_t* to = MutableBits(shares);
    ForRows(scores, tokens, [&](int64_t row, int64_t first) {
      static thread_local std::vector<float> room;
      if (unrounded == nullptr) room.resize(static_cast<size_t>(tokens));
      const int64_t seen = Count(row, tokens);
      const int64_t of_bias = row % (units * tokens) * tokens;
      Softmax(from + first, added == nullptr ? nullptr : added + of_bias, seen, scale,
              unrounded == nullptr ? room.data() : unrounded + first, to + first);
      std::fill(to + first + seen, to + first + tokens, uint16_t{0});
    });
    return shares;
  }

  // The gradient by the scores, in the place of that by the shares.
  void Gradient(const at::Tensor& by_shares, const at::Tensor& exact) const {
    const int64_t tokens = by_shares.size(2);
    uint16_t* all = MutableBits(by_shares);
    const auto* shares = exact.const_data_ptr<float>();
    ForRows(by_shares, tokens, [&](int64_t row, int64_t first) {
      const int64_t seen = Count(row, tokens);
      SoftmaxGradient(all + first, shares + first, seen, scale);
      std::fill(all + first + seen, all + first + tokens, uint16_t{0});
    });
  }
};

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& joined, const SubLayer& sub,
                            const std::optional<at::Tensor>& lengths,
                            const std::optional<at::Tensor>& bias) {
    const int64_t units = sub.units, keys = units * sub.key_width;
    const at::Tensor query = HeadsOf(joined, 0, units, sub.key_width);
    const at::Tensor key = HeadsOf(joined, keys, units, sub.key_width);
    const at::Tensor value = HeadsOf(joined, 2 * keys, units, sub.width);
    const Seen seen = {units, sub.scale, lengths.value_or(at::Tensor()),
                       bias.value_or(at::Tensor())};
    const at::Tensor scores = at::bmm(query, key.transpose(1, 2));
    at::Tensor mixed =
        at::empty({joined.size(0), joined.size(1), units * sub.width}, joined.options());
    PutHeads(at::bmm(seen.Shares(scores, {}), value), 0, mixed);
    context->save_for_backward({query, key, value, scores, seen.lengths, seen.bias});
    context->saved_data["units"] = units;
    context->saved_data["scale"] = sub.scale;
    return mixed;
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &key = saved[1], &value = saved[2], &scores = saved[3];
    const int64_t units = context->saved_data["units"].toInt();
    const Seen seen = {units, context->saved_data["scale"].toDouble(), saved[4], saved[5]};
    const int64_t keys = units * key.size(2);
    const at::Tensor by_result = by_results[0].contiguous();
    const at::Tensor by_mixed = HeadsOf(by_result, 0, units, value.size(2));
    const at::Tensor exact = at::empty(scores.sizes(), scores.options().dtype(at::kFloat));
    const at::Tensor shares = seen.Shares(scores, exact);
    const at::Tensor by_scores = at::bmm(by_mixed, value.transpose(1, 2));
    seen.Gradient(by_scores, exact);
    at::Tensor by_joined =
        at::empty({by_result.size(0), by_result.size(1), 2 * keys + units * value.size(2)},
                  by_result.options());
    PutHeads(at::bmm(by_scores, key), 0, by_joined);
    PutHeads(at::bmm(by_scores.transpose(1, 2), query), keys, by_joined);
    PutHeads(at::bmm(shares.transpose(1, 2), by_mixed), 2 * keys, by_joined);
    const at::Tensor none;
    return {by_joined, none, none, none};
  }
};

}  // namespace

bool HasTextAttention(const SubLayer& sub) {
  return sub.in.size() == 1 && sub.queries == 1 && HasLoops(sub.in[0].weight);
}

at::Tensor TextAttention(const SubLayer& sub, const at::Tensor& joined, const TextRows& texts,
                         const at::Tensor& bias) {
  return Attention::apply(joined.contiguous(), sub, Optional(texts.lengths), Optional(bias));
}

}  // namespace coppice
