#include "model/gram.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "model/product.h"
#include "model/tile_products.h"

namespace coppice {
namespace {

// Of one product. On the CPU one shape has one kernel; a GPU's tensor cores cut what they add, so
// that errors grow with the rows (bench/gram_accuracy), which what is factorised must be spared.
constexpr int64_t kRows = kTileRows;
constexpr int64_t kCrossRows = 4 * kRows;  // of large ones that are not symmetric, on a GPU
constexpr int64_t kStretch = 4096;         // rows summed in float32

// Columns of a block of a symmetric product: about a sixth, in steps that leave every block where a
// GPU's kernels want to read.
int64_t BlockWidth(int64_t inputs) {
  constexpr int64_t kBlocks = 6, kStep = 128;
  return (inputs + kBlocks * kStep - 1) / (kBlocks * kStep) * kStep;
}

// sum += left'right of bfloat16 on a GPU, `each` rows a product.
void AddLarge(const at::Tensor& left, const at::Tensor& right, int64_t each, at::Tensor* sum) {
  for (int64_t begin = 0; begin < left.size(0); begin += each) {
    AddProduct(left.slice(0, begin, begin + each).t(), right.slice(0, begin, begin + each), sum);
  }
}

// The same of products that a GPU is not busy with: kRows rows each, several a launch.
void AddSmall(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum) {
  constexpr int64_t kNumbers = int64_t{1} << 26;  // of products that are there at one time
  const int64_t rows = left.size(0), numbers = left.size(1) * right.size(1);
  const int64_t most = std::max<int64_t>(kNumbers / numbers, 1);
  int64_t begin = 0;
  while (rows - begin >= kRows) {
    const int64_t count = std::min(most, (rows - begin) / kRows);
    const int64_t end = begin + count * kRows;
    const at::Tensor parts =
        Multiply(left.slice(0, begin, end).unflatten(0, {count, kRows}).transpose(1, 2),
                 right.slice(0, begin, end).unflatten(0, {count, kRows}), at::kFloat);
    sum->add_(parts.sum(0));
    begin = end;
  }
  AddLarge(left.slice(0, begin), right.slice(0, begin), kRows, sum);
}

// sum += left'right. bfloat16: on a GPU alone, with `each` rows a product.
void AddTo(const at::Tensor& left, const at::Tensor& right, int64_t each, at::Tensor sum) {
  constexpr int64_t kLarge = int64_t{1} << 22;  // numbers
  if (left.scalar_type() != at::kBFloat16) {
    sum.addmm_(left.t(), right);
  } else if (sum.numel() >= kLarge) {
    AddLarge(left, right, each, &sum);
  } else {
    AddSmall(left, right, &sum);
  }
}

// sum += x'x in the blocks on and above the diagonal, about 7 / 12 of the work. A GPU computes a
// small matrix in the time of a launch.
void AddGram(const at::Tensor& x, at::Tensor* sum) {
  constexpr int64_t kSmallOnGpu = 4096;
  const int64_t inputs = x.size(1);
  const bool whole = x.is_cuda() && inputs <= kSmallOnGpu;
  const int64_t width = whole ? inputs : BlockWidth(inputs);
  for (int64_t begin = 0; begin < inputs; begin += width) {
    const int64_t end = std::min(begin + width, inputs);
    AddTo(x.slice(1, begin, end), x.slice(1, begin), kRows,
          sum->slice(0, begin, end).slice(1, begin));
  }
}

at::Tensor Joined(const std::vector<at::Tensor>& rows) {
  return rows.size() == 1 ? rows[0] : at::cat(rows);
}

}  // namespace

void MirrorInPlace(const at::Tensor& matrix) {
  const int64_t inputs = matrix.size(0);
  const int64_t width = BlockWidth(inputs);
  for (int64_t begin = 0; begin < inputs; begin += width) {
    const int64_t end = std::min(begin + width, inputs);
    const at::Tensor within = matrix.slice(0, begin, end).slice(1, begin, end);
    within.copy_(within.triu() + within.triu(1).t());
    const at::Tensor above = matrix.slice(0, begin, end).slice(1, end);
    matrix.slice(0, end).slice(1, begin, end).copy_(above.t());
  }
}

void ProductSum::Start(const at::Tensor& left, const at::Tensor& right) {
  symmetric_ = left.is_same(right);
  const int64_t inputs = left.size(1), outputs = right.size(1);
  tiles_ = left.is_cpu() && left.scalar_type() == at::kBFloat16 && HasTileProducts();
  stretch_ = tiles_ ? ZeroTiles(inputs, outputs)
                    : at::zeros({inputs, outputs}, left.options().dtype(at::kFloat));
  total_ = at::zeros({inputs, outputs}, left.options().dtype(at::kDouble));
}

void ProductSum::AddRows(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum) const {
  const bool coarse = left.scalar_type() == at::kBFloat16;
  if (coarse && left.is_cpu() && !tiles_) {
    const at::Tensor exact = left.to(at::kFloat);
    AddRows(exact, symmetric_ ? exact : right.to(at::kFloat), sum);
    return;
  }
  if (symmetric_) {
    tiles_ ? AddTileGram(left, sum) : AddGram(left, sum);
    return;
  }
  if (tiles_) {
    AddTileProduct(left, right, sum);
  } else {
    AddTo(left, right, kCrossRows, *sum);
  }
}

void ProductSum::AddStretch(const at::Tensor& stretch, at::Tensor* total) const {
  if (tiles_) {
    AddTiles(stretch, total);
  } else {
    total->add_(stretch);
  }
}

void ProductSum::Add(const at::Tensor& left, const at::Tensor& right) {
  Check(left.scalar_type() == right.scalar_type(), "a product of two dtypes");
  if (!stretch_.defined()) Start(left, right);
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
    if (rows_ < kStretch) continue;
    AddStretch(stretch_, &total_);
    stretch_.zero_();
    rows_ = 0;
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
  at::Tensor sum = total_.clone();
  AddStretch(stretch_, &sum);
  if (waiting_ > 0) {
    at::Tensor rest = at::zeros_like(stretch_);
    AddWaiting(&rest);
    AddStretch(rest, &sum);
  }
  if (symmetric_) MirrorInPlace(sum);
  return sum;
}

at::Tensor ProductSum::Take() {
  if (!stretch_.defined()) return {};
  if (waiting_ > 0) AddWaiting(&stretch_);
  AddStretch(stretch_, &total_);
  stretch_.reset();
  left_.clear();
  right_.clear();
  at::Tensor sum = std::move(total_);
  if (symmetric_) MirrorInPlace(sum);
  return sum;
}

}  // namespace coppice
