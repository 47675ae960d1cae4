#include "model/activation_table.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "model/cpu_loops.h"
#include "model/linear.h"

namespace coppice {
namespace {

constexpr int64_t kGrain = 1 << 14;  // numbers that are worth another thread

struct Table {
  at::Tensor values;  // (65536) bfloat16, by the bits of the argument
  at::Tensor slopes;  // (65536) float32
};

Table MakeTable(Activation activation) {
  const at::NoGradGuard no_gradients;
  const at::Tensor bits = at::arange(1 << 16, at::kInt).to(at::kShort);
  const at::Tensor all = bits.view(at::kBFloat16).to(at::kDouble);
  return {Activate(all, activation).to(at::kBFloat16), Slope(all, activation).to(at::kFloat)};
}

const Table& TableOf(Activation activation) {
  static const Table gelu = MakeTable(Activation::kGelu);
  static const Table gelu_tanh = MakeTable(Activation::kGeluTanh);
  static const Table silu = MakeTable(Activation::kSilu);
  if (activation == Activation::kSilu) return silu;
  return activation == Activation::kGelu ? gelu : gelu_tanh;
}

COPPICE_EACH_PROCESSOR
void LookUp(const uint16_t* x, const uint16_t* values, int64_t count, uint16_t* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = values[x[i]];
}

// Slopes are looked up one by one, some at a time, and multiplied as vectors.
COPPICE_EACH_PROCESSOR
void Gradient(const uint16_t* x, const float* slopes, const uint16_t* by_y, int64_t count,
              uint16_t* by_x) {
  constexpr int64_t kAtOnce = 512;
  float found[kAtOnce];
  for (int64_t first = 0; first < count; first += kAtOnce) {
    const int64_t some = std::min(kAtOnce, count - first);
    for (int64_t i = 0; i < some; ++i) found[i] = slopes[x[first + i]];
#pragma omp simd
    for (int64_t i = 0; i < some; ++i)
      by_x[first + i] = Rounded(found[i] * Widened(by_y[first + i]));
  }
}

class FromTable : public torch::autograd::Function<FromTable> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            Activation activation) {
    at::Tensor y = at::empty(x.sizes(), x.options());
    const uint16_t *from = Bits(x), *values = Bits(TableOf(activation).values);
    uint16_t* to = MutableBits(y);
    at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      LookUp(from + begin, values, end - begin, to + begin);
    });
    context->save_for_backward({x});
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_results) {
    const at::Tensor x = context->get_saved_variables()[0];
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const at::Tensor by_y = by_results[0].contiguous();
    at::Tensor by_x = at::empty(x.sizes(), x.options());
    const uint16_t *from = Bits(x), *upstream = Bits(by_y);
    const auto* slopes = TableOf(activation).slopes.const_data_ptr<float>();
    uint16_t* to = MutableBits(by_x);
    at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      Gradient(from + begin, slopes, upstream + begin, end - begin, to + begin);
    });
    return {by_x, at::Tensor()};
  }
};

}  // namespace

bool HasTable(const at::Tensor& x, Activation activation) {
  const bool of_exponentials = activation == Activation::kGelu ||
                               activation == Activation::kGeluTanh ||
                               activation == Activation::kSilu;
  return of_exponentials && HasLoops(x);
}

at::Tensor Tabled(const at::Tensor& x, Activation activation) {
  return FromTable::apply(x.contiguous(), activation);
}

}  // namespace coppice
