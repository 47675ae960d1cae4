#include "model/gram.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <algorithm>
#include <utility>

namespace coppice {
namespace {

constexpr int64_t kRows = 1024;     // of one product on the CPU
constexpr int64_t kStretch = 4096;  // rows summed in float32

// Lets oneDNN read float32 operands as bfloat16 while alive. Only for operands that are bfloat16
// already: their products are exact, and sums are float32. A GPU's TF32 units hold such operands
// too, but with their sums all twelve sweeps of mpnet-squad's curvature broke down, and none
// without.
class ExactBfloat16Products {
 public:
  ExactBfloat16Products() { Set(at::Float32Precision::BF16); }
  ExactBfloat16Products(const ExactBfloat16Products&) = delete;
  ExactBfloat16Products& operator=(const ExactBfloat16Products&) = delete;
  ~ExactBfloat16Products() { Set(at::Float32Precision::NONE); }

 private:
  static void Set(at::Float32Precision precision) {
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                            precision);
  }
};

// Columns of a block of a symmetric product.
int64_t BlockWidth(int64_t inputs) {
  constexpr int64_t kBlocks = 6, kLeast = 128;
  return std::max(kLeast, (inputs + kBlocks - 1) / kBlocks);
}

// sum += x'x in the blocks on and above the diagonal, about 7 / 12 of the work.
void AddGram(const at::Tensor& x, at::Tensor* sum) {
  const int64_t inputs = x.size(1);
  const int64_t width = BlockWidth(inputs);
  for (int64_t begin = 0; begin < inputs; begin += width) {
    const int64_t end = std::min(begin + width, inputs);
    sum->slice(0, begin, end).slice(1, begin).addmm_(x.slice(1, begin, end).t(), x.slice(1, begin));
  }
}

// Fills the blocks below the diagonal, in place: such a matrix may be a gigabyte.
void Mirror_(at::Tensor* sum) {
  const int64_t inputs = sum->size(0);
  const int64_t width = BlockWidth(inputs);
  for (int64_t begin = 0; begin < inputs; begin += width) {
    const int64_t end = std::min(begin + width, inputs);
    const at::Tensor above = sum->slice(0, begin, end).slice(1, end);
    sum->slice(0, end).slice(1, begin, end).copy_(above.t());
  }
}

at::Tensor Joined(const std::vector<at::Tensor>& rows) {
  return rows.size() == 1 ? rows[0] : at::cat(rows);
}

}  // namespace

at::Tensor GramMatrixOf(const at::Tensor& values, at::ScalarType origin) {
  at::Tensor sum = at::zeros({values.size(1), values.size(1)}, values.options());
  if (origin != at::kBFloat16 || !values.is_cpu()) {
    AddGram(values, &sum);
  } else {
    const ExactBfloat16Products guard;
    AddGram(values, &sum);
  }
  Mirror_(&sum);
  return sum;
}

// sum += left'right.
void ProductSum::AddRows(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum) const {
  const auto add = [&](const at::Tensor& part) {
    if (symmetric_) {
      AddGram(left, sum);
    } else {
      sum->addmm_(left.t(), part);
    }
  };
  if (origin_ != at::kBFloat16 || !left.is_cpu()) {
    add(right);
    return;
  }
  const auto rounded = [](const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); };
  const at::Tensor coarse = symmetric_ ? right : rounded(right);
  const ExactBfloat16Products guard;
  add(coarse);
  if (!symmetric_) add(rounded(right - coarse));
}

void ProductSum::EndStretch() {
  if (total_.defined()) {
    total_.add_(stretch_);
  } else {
    total_ = stretch_.to(at::kDouble);
  }
  stretch_.zero_();
  rows_ = 0;
}

void ProductSum::Add(const at::Tensor& left, const at::Tensor& right, at::ScalarType origin) {
  symmetric_ = left.is_same(right);
  origin_ = origin;
  if (!stretch_.defined()) stretch_ = at::zeros({left.size(1), right.size(1)}, left.options());
  if (left.size(1) == 0 || right.size(1) == 0) return;
  left_.push_back(left);
  if (!symmetric_) right_.push_back(right);
  waiting_ += left.size(0);
  if (left.is_cpu() && waiting_ < kRows) return;
  const at::Tensor x = Joined(left_);
  const at::Tensor y = symmetric_ ? x : Joined(right_);
  const int64_t step = left.is_cpu() ? kRows : waiting_;
  int64_t begin = 0;
  for (; begin + step <= waiting_; begin += step) {
    AddRows(x.slice(0, begin, begin + step), y.slice(0, begin, begin + step), &stretch_);
    rows_ += step;
    if (rows_ >= kStretch) EndStretch();
  }
  waiting_ -= begin;
  left_.clear();
  right_.clear();
  if (waiting_ == 0) return;
  left_.push_back(x.slice(0, begin).clone());
  if (!symmetric_) right_.push_back(y.slice(0, begin).clone());
}

// Rows that are still waiting, filled up with zeros to the one shape of products.
void ProductSum::AddWaiting(at::Tensor* sum) const {
  const auto filled = [&](const std::vector<at::Tensor>& rows) {
    return at::constant_pad_nd(Joined(rows), {0, 0, 0, kRows - waiting_});
  };
  const at::Tensor x = filled(left_);
  AddRows(x, symmetric_ ? x : filled(right_), sum);
}

at::Tensor ProductSum::Total() const {
  if (!stretch_.defined()) return {};
  at::Tensor sum = total_.defined() ? total_ + stretch_ : stretch_.to(at::kDouble);
  if (waiting_ > 0) {
    at::Tensor rest = at::zeros_like(stretch_);
    AddWaiting(&rest);
    sum.add_(rest);
  }
  if (symmetric_) Mirror_(&sum);
  return sum;
}

at::Tensor ProductSum::Take() {
  if (!stretch_.defined()) return {};
  if (rows_ > 0 || !total_.defined()) EndStretch();
  if (waiting_ > 0) {
    AddWaiting(&stretch_);
    total_.add_(stretch_);
  }
  stretch_.reset();
  left_.clear();
  right_.clear();
  at::Tensor sum = std::move(total_);
  if (symmetric_) Mirror_(&sum);
  return sum;
}

at::Tensor GramMatrix(const at::Tensor& inputs) {
  return GramMatrixOf(inputs.to(at::kFloat), inputs.scalar_type());
}

}  // namespace coppice
