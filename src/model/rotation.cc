#include "model/rotation.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace coppice {
namespace {

// The first or the second numbers of all pairs.
at::Tensor Half(const at::Tensor& x, int64_t which, bool neighbours) {
  const int64_t pairs = x.size(-1) / 2;
  return neighbours ? x.slice(-1, which, c10::nullopt, 2)
                    : x.slice(-1, which * pairs, (which + 1) * pairs);
}

// (a c - b s, b c + a s) for pairs (a, b): two kernels a half, of which the second rounds and
// writes to its place, so that few bytes move.
at::Tensor Turned(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                  bool neighbours) {
  const at::Tensor c = Half(cosine, 0, neighbours), s = Half(sine, 0, neighbours);
  const at::Tensor a = Half(x, 0, neighbours), b = Half(x, 1, neighbours);
  at::Tensor turned = at::empty(x.sizes(), x.options());
  at::Tensor first = Half(turned, 0, neighbours), second = Half(turned, 1, neighbours);
  at::addcmul_out(first, b * -s, a, c);
  at::addcmul_out(second, a * s, b, c);
  return turned;
}

// Backward, pairs turn the other way; of the forward pass nothing is kept but the angles.
class Rotation : public torch::autograd::Function<Rotation> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cosine, const at::Tensor& sine, bool neighbours) {
    context->save_for_backward({cosine, sine});
    context->saved_data["neighbours"] = neighbours;
    return Turned(x, cosine, sine, neighbours);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_result) {
    const torch::autograd::variable_list angles = context->get_saved_variables();
    return {Turned(by_result[0], angles[0], -angles[1], context->saved_data["neighbours"].toBool()),
            at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                  bool neighbours) {
  return Rotation::apply(x, cosine, sine, neighbours);
}

}  // namespace coppice
