#include "model/rotation.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "model/cpu_loops.h"
#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"

namespace coppice {
namespace {

// The first or the second numbers of all pairs.
at::Tensor Half(const at::Tensor& x, int64_t which, bool neighbours) {
  const int64_t pairs = x.size(-1) / 2;
  return neighbours ? x.slice(-1, which, c10::nullopt, 2)
                    : x.slice(-1, which * pairs, (which + 1) * pairs);
}

cuda::HeadStrides StridesOf(const at::Tensor& x) { return {x.stride(0), x.stride(1), x.stride(2)}; }

// Whether the kernel reads x, (B, H, T, K), where it is.
bool IsReadable(const at::Tensor& x) {
  const cuda::HeadStrides strides = StridesOf(x);
  return x.stride(3) == 1 && (strides.text | strides.head | strides.token) % 8 == 0 && IsAligned(x);
}

// Whether the kernel is for x, (B, ..., T, K).
bool HasKernel(const at::Tensor& x) {
  return x.dim() >= 4 && x.numel() > 0 && x.size(-1) % 16 == 0 &&
         HasKernels({x.device(), x.scalar_type()});
}

// As x is, (B, ..., T, K), with a token's heads side by side, which is how products leave them and
// how attention's result is read.
at::Tensor HeadsSideBySide(const at::Tensor& x) {
  std::vector<int64_t> strides(static_cast<size_t>(x.dim()), 1);
  int64_t stride = x.size(-1);
  for (size_t d = strides.size() - 2; d-- > 1;) {
    strides[d] = stride;
    stride *= x.size(static_cast<int64_t>(d));
  }
  strides[strides.size() - 2] = stride;
  strides[0] = stride * x.size(-2);
  return at::empty_strided(x.sizes(), strides, x.options());
}

at::Tensor TurnedByKernel(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                          bool neighbours, bool back) {
  const c10::DeviceGuard here(x.device());
  const at::Tensor heads = x.flatten(1, -3);                               // (B, H, T, K)
  const at::Tensor from = IsReadable(heads) ? heads : AlignedRows(heads);  // the same
  const at::Tensor c = cosine.contiguous(), s = sine.contiguous();         // (T, K)
  at::Tensor turned = HeadsSideBySide(x);
  const cuda::Rotation kernel = {.texts = from.size(0),
                                 .heads = from.size(1),
                                 .tokens = from.size(2),
                                 .width = from.size(3),
                                 .from = StridesOf(from),
                                 .to = StridesOf(turned.flatten(1, -3)),
                                 .x = from.const_data_ptr(),
                                 .cosine = c.const_data_ptr<float>(),
                                 .sine = s.const_data_ptr<float>(),
                                 .neighbours = neighbours,
                                 .back = back};
  cuda::Launch(kernel, turned.mutable_data_ptr(), cuda::CurrentStream());
  return turned;
}

// (a c - b s, b c + a s) for pairs (a, b): two kernels a half, of which the second rounds and
// writes to its place, so that few bytes move.
at::Tensor TurnedByParts(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                         bool neighbours) {
  const at::Tensor c = Half(cosine, 0, neighbours), s = Half(sine, 0, neighbours);
  const at::Tensor a = Half(x, 0, neighbours), b = Half(x, 1, neighbours);
  at::Tensor turned = at::empty(x.sizes(), x.options());
  at::Tensor first = Half(turned, 0, neighbours), second = Half(turned, 1, neighbours);
  at::addcmul_out(first, b * -s, a, c);
  at::addcmul_out(second, a * s, b, c);
  return turned;
}

// A token's head, whose pairs are halves.
COPPICE_EACH_PROCESSOR
void TurnHalves(const uint16_t* x, const float* cosine, const float* sine, int64_t pairs,
                float sign, uint16_t* turned) {
#pragma omp simd
  for (int64_t j = 0; j < pairs; ++j) {
    const float a = Widened(x[j]), b = Widened(x[pairs + j]), s = sign * sine[j];
    turned[j] = Rounded(a * cosine[j] - b * s);
    turned[pairs + j] = Rounded(b * cosine[j] + a * s);
  }
}

bool HasLoop(const at::Tensor& x, bool neighbours) {
  return HasLoops(x) && !neighbours && x.dim() >= 4 && x.stride(-1) == 1;
}

at::Tensor TurnedByLoop(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                        bool back) {
  const at::Tensor from = x.flatten(1, -3);                         // (B, H, T, K)
  const at::Tensor c = cosine.contiguous(), s = sine.contiguous();  // (T, K)
  at::Tensor turned = at::empty(x.sizes(), x.options());
  const int64_t heads = from.size(1), tokens = from.size(2), width = from.size(3);
  const cuda::HeadStrides strides = StridesOf(from);
  const auto* cosines = c.const_data_ptr<float>();
  const auto* sines = s.const_data_ptr<float>();
  const uint16_t* all = Bits(from);
  uint16_t* to = MutableBits(turned);
  ForRows(turned, width, [&](int64_t row, int64_t first) {
    const int64_t token = row % tokens, head = row / tokens % heads, text = row / tokens / heads;
    TurnHalves(all + text * strides.text + head * strides.head + token * strides.token,
               cosines + token * width, sines + token * width, width / 2, back ? -1.0F : 1.0F,
               to + first);
  });
  return turned;
}

// back: whether pairs turn the other way.
at::Tensor Turned(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                  bool neighbours, bool back) {
  if (HasKernel(x)) return TurnedByKernel(x, cosine, sine, neighbours, back);
  if (HasLoop(x, neighbours)) return TurnedByLoop(x, cosine, sine, back);
  return TurnedByParts(x, cosine, back ? -sine : sine, neighbours);
}

// Backward, pairs turn the other way; of the forward pass nothing is kept but the angles.
class Rotation : public torch::autograd::Function<Rotation> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cosine, const at::Tensor& sine, bool neighbours) {
    context->save_for_backward({cosine, sine});
    context->saved_data["neighbours"] = neighbours;
    return Turned(x, cosine, sine, neighbours, /*back=*/false);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_result) {
    const torch::autograd::variable_list angles = context->get_saved_variables();
    const bool neighbours = context->saved_data["neighbours"].toBool();
    return {Turned(by_result[0], angles[0], angles[1], neighbours, /*back=*/true), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                  bool neighbours) {
  return Rotation::apply(x, cosine, sine, neighbours);
}

}  // namespace coppice
