// Products against float64. Those of a CUDA device are run by scripts/test_cuda.
#include "model/product.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "model/cuda/products.h"

namespace coppice {
namespace {

struct Shape {
  int64_t batch, rows, columns, inner;
};

// Of every class of shapes (model/cuda/products.cc), and shapes that its kernels do not take: odd
// widths, nothing to sum, nothing to write.
const std::vector<Shape> kShapes = {
    {0, 5000, 1536, 768}, {0, 3000, 768, 208}, {0, 300, 768, 1024},  {0, 768, 784, 20000},
    {0, 4000, 40, 768},   {0, 16, 512, 768},   {0, 100, 30, 50},     {0, 257, 1371, 33},
    {0, 8, 8, 8},         {0, 64, 64, 0},      {0, 64, 0, 64},       {7, 768, 784, 1024},
    {0, 5000, 576, 1536}, {3, 64, 16, 1024},   {2, 130, 2304, 1024}, {2, 5, 3, 4}};

at::Tensor Random(at::IntArrayRef shape, at::Device device, at::ScalarType dtype) {
  return at::randn(shape, at::TensorOptions(device)).to(dtype);
}

std::vector<int64_t> WithBatch(int64_t batch, int64_t rows, int64_t columns) {
  return batch > 0 ? std::vector<int64_t>{batch, rows, columns}
                   : std::vector<int64_t>{rows, columns};
}

// Of the largest number that is expected, or of 1.
double Error(const at::Tensor& found, const at::Tensor& expected) {
  EXPECT_TRUE(found.sizes().equals(expected.sizes()));
  if (found.numel() == 0) return 0;
  const at::Tensor exact = expected.to(at::kDouble);
  return ((found.to(at::kDouble) - exact).abs().max() / exact.abs().max().clamp_min(1))
      .item<double>();
}

at::Tensor Exactly(const at::Tensor& left, const at::Tensor& right) {
  return at::matmul(left.to(at::kDouble), right.to(at::kDouble));
}

void ExpectProducts(at::Device device, at::ScalarType dtype,
                    const std::vector<at::ScalarType>& of) {
  at::manual_seed(0);
  for (const Shape& shape : kShapes) {
    const double numbers = static_cast<double>(shape.rows * shape.columns * shape.inner);
    if (device.is_cpu() && numbers > 1e8) continue;  // takes seconds
    for (const bool left_transposed : {false, true}) {
      for (const bool right_transposed : {false, true}) {
        SCOPED_TRACE(testing::Message() << shape.rows << " x " << shape.columns << ", "
                                        << shape.inner << left_transposed << right_transposed);
        const auto [batch, rows, columns, inner] = shape;
        const at::Tensor left =
            left_transposed ? Random(WithBatch(batch, inner, rows), device, dtype).transpose(-2, -1)
                            : Random(WithBatch(batch, rows, inner), device, dtype);
        const at::Tensor right =
            right_transposed
                ? Random(WithBatch(batch, columns, inner), device, dtype).transpose(-2, -1)
                : Random(WithBatch(batch, inner, columns), device, dtype);
        const at::Tensor expected = Exactly(left, right);
        // LibTorch's kernels may round parts of a sum to bfloat16.
        for (const at::ScalarType result : of) {
          const at::Tensor found = Multiply(left, right, result);
          EXPECT_EQ(found.scalar_type(), result);
          EXPECT_LT(Error(found, expected), result == at::kBFloat16 ? 8e-3 : 1e-4);
        }
        if (batch > 0) continue;
        // Into a block of a matrix, as Gram matrices are summed up.
        at::Tensor sum = at::ones({rows + 3, columns + 8}, expected.options().dtype(at::kFloat));
        at::Tensor block = sum.slice(0, 3).slice(1, 8);
        AddProduct(left, right, &block);
        EXPECT_LT(Error(block, expected + 1), 1e-4);
        EXPECT_TRUE(sum.slice(0, 0, 3).eq(1).all().item<bool>());
        EXPECT_TRUE(sum.slice(1, 0, 8).eq(1).all().item<bool>());
        const at::Tensor addend = at::full({rows, columns}, 2, sum.options());
        EXPECT_LT(Error(SumWithProduct(addend, left, right), expected + 2), 1e-4);
        EXPECT_TRUE(addend.eq(2).all().item<bool>());
      }
    }
  }
}

TEST(Product, OfFloat32IsThatOfFloat64) { ExpectProducts(at::kCPU, at::kFloat, {at::kFloat}); }

TEST(CudaProduct, OfBfloat16IsThatOfFloat64) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectProducts({at::kCUDA, 0}, at::kBFloat16, {at::kBFloat16, at::kFloat});
}

TEST(CudaProduct, KernelsTakeAPrunedWidth) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::Device device(at::kCUDA, 0);
  const at::Tensor x = Random({4096, 784}, device, at::kBFloat16);
  const at::Tensor y = Random({784, 512}, device, at::kBFloat16);
  at::Tensor result = at::empty({4096, 512}, x.options());
  at::Tensor workspace = at::empty({cuda::kWorkspaceBytes}, x.options().dtype(at::kByte));
  EXPECT_TRUE(cuda::Multiply({.count = 1,
                              .rows = 4096,
                              .columns = 512,
                              .inner = 784,
                              .left = {x.const_data_ptr(), 784, false, 0},
                              .right = {y.const_data_ptr(), 512, false, 0},
                              .bias = nullptr,
                              .exact = false,
                              .addend = nullptr,
                              .stride = 512,
                              .next = 0},
                             result.mutable_data_ptr(), workspace.mutable_data_ptr(),
                             cuda::CurrentStream()));
  EXPECT_LT(Error(result, Exactly(x, y)), 4e-3);
}

// With its gradient by x.
void ExpectAffine(at::Device device, at::ScalarType dtype, double error) {
  at::manual_seed(1);
  for (const int64_t outputs : {784, 30}) {
    for (const bool biased : {false, true}) {
      SCOPED_TRACE(testing::Message() << outputs << biased);
      const at::Tensor x = Random({3, 100, 256}, device, dtype).requires_grad_();
      const at::Tensor weight = Random({outputs, 256}, device, dtype);
      const at::Tensor bias = biased ? Random({outputs}, device, dtype) : at::Tensor();
      at::Tensor expected = Exactly(x.detach(), weight.t());
      if (biased) expected = expected + bias;
      const at::Tensor by_result = Random({3, 100, outputs}, device, dtype);
      const at::Tensor by_x = Exactly(by_result, weight);
      const auto gradient = [&](const at::Tensor& y) {
        return torch::autograd::grad({y}, {x}, {by_result.to(y.scalar_type())})[0];
      };
      const at::Tensor y = Affine(x, weight, bias);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_LT(Error(y.detach(), expected), error);
      EXPECT_LT(Error(gradient(y), by_x), error);
      const at::Tensor exact = AffineInFloat(x, weight, bias);
      EXPECT_EQ(exact.scalar_type(), at::kFloat);
      EXPECT_LT(Error(exact.detach(), expected), device.is_cpu() ? error : 1e-5);
      EXPECT_LT(Error(gradient(exact), by_x), error);
    }
  }
}

TEST(Product, AffineMapsAndTheirGradientsAreThoseOfFloat64) {
  ExpectAffine(at::kCPU, at::kFloat, 1e-5);
  ExpectAffine(at::kCPU, at::kBFloat16, 6e-3);
}

TEST(CudaProduct, AffineMapsAndTheirGradientsAreThoseOfFloat64) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectAffine({at::kCUDA, 0}, at::kBFloat16, 6e-3);
}

}  // namespace
}  // namespace coppice
