#include "model/causal_softmax.h"

#include <ATen/ATen.h>

#include <vector>

#include "model/cpu_loops.h"
#include "model/softmax_rows.h"

namespace coppice {

void CausalSoftmax(const at::Tensor& scores, int64_t queries, double scale,
                   const at::Tensor& exact) {
  const int64_t keys = scores.size(2);
  uint16_t* all = MutableBits(scores);
  float* unrounded = exact.defined() ? exact.mutable_data_ptr<float>() : nullptr;
  ForRows(scores, keys, [&](int64_t row, int64_t first) {
    static thread_local std::vector<float> room;
    if (unrounded == nullptr) room.resize(static_cast<size_t>(keys));
    float* powers = unrounded == nullptr ? room.data() : unrounded + first;
    const int64_t seen = keys - queries + row % queries + 1;
    Softmax(all + first, nullptr, seen, scale, powers, all + first);
    std::fill(all + first + seen, all + first + keys, uint16_t{0});
    if (unrounded != nullptr) std::fill(powers + seen, powers + keys, 0.0F);
  });
}

void CausalSoftmaxGradient(const at::Tensor& by_shares, const at::Tensor& shares, int64_t queries,
                           double scale) {
  const int64_t keys = by_shares.size(2);
  uint16_t* all = MutableBits(by_shares);
  const auto* of_shares = shares.const_data_ptr<float>();
  ForRows(by_shares, keys, [&](int64_t row, int64_t first) {
    const int64_t seen = keys - queries + row % queries + 1;
    SoftmaxGradient(all + first, of_shares + first, seen, scale);
    std::fill(all + first + seen, all + first + keys, uint16_t{0});
  });
}

}  // namespace coppice
