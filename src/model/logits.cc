#include "model/logits.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "model/forward.h"
#include "model/linear.h"

namespace coppice {
namespace {

struct RowsAtOnce {
  int64_t multiplied, used;
};

RowsAtOnce AtOnce(const Network& net) {
  const int64_t vocabulary = net.output.size(0);
  if (net.compute.device.is_cuda()) {
    const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 27) / vocabulary);
    return {rows, rows};
  }
  return {std::max<int64_t>(16, (int64_t{1} << 24) / vocabulary),
          std::max<int64_t>(1, (int64_t{1} << 20) / vocabulary)};
}

// rows: (m, D) float32; the result: (m, V), on the CPU in the matrix's dtype, until the next one
// takes its room; on a GPU in float32.
at::Tensor Logits(const at::Tensor& rows, const at::Tensor& matrix, at::Tensor* room) {
  if (matrix.is_cuda()) return ApplyInFloat({matrix, {}}, rows);
  if (!room->defined() || room->size(0) < rows.size(0))
    *room = at::empty({rows.size(0), matrix.size(0)}, matrix.options());
  at::Tensor product = room->slice(0, 0, rows.size(0));
  return at::mm_out(product, rows.to(matrix.scalar_type()), matrix.t());
}

// Calls use(part, place) with even parts of at most `most` rows; begin: the first one's place.
template <typename Use>
void ForParts(const at::Tensor& rows, int64_t begin, int64_t most, const Use& use) {
  const int64_t count = rows.size(0), parts = (count + most - 1) / most;
  for (int64_t k = 0; k < parts; ++k) {
    const int64_t first = count * k / parts;
    use(rows.slice(0, first, count * (k + 1) / parts), begin + first);
  }
}

}  // namespace

void ForLogits(const Network& net, const at::Tensor& hidden, const UseLogits& use,
               at::Tensor* room) {
  at::NoGradGuard no_gradients;
  const RowsAtOnce at_once = AtOnce(net);
  ForParts(ReadByHead(net, hidden), 0, at_once.multiplied,
           [&](const at::Tensor& rows, int64_t begin) {
             ForParts(Logits(rows, net.output, room), begin, at_once.used, use);
           });
}

at::Tensor GradientThroughLogits(const Network& net, const at::Tensor& hidden,
                                 const GradientByLogits& gradient) {
  at::AutoGradMode with_gradients(true);
  const at::Tensor end = hidden.detach().requires_grad_();
  const at::Tensor read = ReadByHead(net, end);  // (M, D)
  const at::Tensor by_read = at::empty(read.sizes(), read.options());
  {
    at::NoGradGuard no_gradients;
    const RowsAtOnce at_once = AtOnce(net);
    at::Tensor room;
    ForParts(read, 0, at_once.multiplied, [&](const at::Tensor& rows, int64_t begin) {
      const at::Tensor product = Logits(rows, net.output, &room);
      // (m, V) in the matrix's dtype, in the product's place where that has it, too.
      const at::Tensor by_product = product.scalar_type() == net.output.scalar_type()
                                        ? product
                                        : at::empty(product.sizes(), net.output.options());
      ForParts(product, begin, at_once.used, [&](const at::Tensor& part, int64_t i) {
        at::Tensor by_part = by_product.narrow(0, i - begin, part.size(0));
        gradient(part, i, &by_part);
      });
      by_read.slice(0, begin, begin + rows.size(0)).copy_(at::mm(by_product, net.output));
    });
  }
  return torch::autograd::grad({read}, {end}, {by_read})[0];
}

}  // namespace coppice
