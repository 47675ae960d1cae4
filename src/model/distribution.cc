#include "model/distribution.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <cmath>
#include <limits>

#include "model/cpu_loops.h"
#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"

namespace coppice {
namespace {

constexpr auto kFactor = static_cast<float>(kLog2E);

bool HasKernel(const at::Tensor& logits) {
  return logits.is_cuda() && logits.scalar_type() == at::kFloat && logits.size(1) % 4 == 0 &&
         IsAligned(logits) && cuda::Available(logits.device().index());
}

COPPICE_EACH_PROCESSOR
float Largest(const uint16_t* logits, int64_t width) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < width; ++c) {
    const float logit = Widened(logits[c]);
    largest = largest < logit ? logit : largest;
  }
  return largest;
}

// Sum of exp(logit - largest).
COPPICE_EACH_PROCESSOR
float SumOfPowers(const uint16_t* logits, int64_t width, float largest) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < width; ++c) sum += Exp2((Widened(logits[c]) - largest) * kFactor);
  return sum;
}

// p = exp(logit - largest) / sum; the sum of p (logit - largest).
COPPICE_EACH_PROCESSOR
float Shares(const uint16_t* logits, int64_t width, float largest, float sum, float* p) {
  const float inverse = 1 / sum;
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t c = 0; c < width; ++c) {
    const float below = Widened(logits[c]) - largest;
    p[c] = Exp2(below * kFactor) * inverse;
    along += p[c] * below;
  }
  return along;
}

COPPICE_EACH_PROCESSOR
void RoundedShares(const uint16_t* logits, int64_t width, float largest, float sum, uint16_t* p) {
  const float inverse = 1 / sum;
#pragma omp simd
  for (int64_t c = 0; c < width; ++c)
    p[c] = Rounded(Exp2((Widened(logits[c]) - largest) * kFactor) * inverse);
}

// Sum of p (logit - largest).
COPPICE_EACH_PROCESSOR
float Along(const float* p, const uint16_t* logits, int64_t width, float largest) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t c = 0; c < width; ++c) along += p[c] * (Widened(logits[c]) - largest);
  return along;
}

// Calls of_row(row, its logits, the largest, the sum of powers below it); what it gives: (m).
template <typename OfRow>
at::Tensor OfRows(const at::Tensor& logits, const OfRow& of_row) {
  const int64_t width = logits.size(1);
  at::Tensor results = at::empty({logits.size(0)}, logits.options().dtype(at::kFloat));
  auto* to = results.mutable_data_ptr<float>();
  const uint16_t* all = Bits(logits);
  ForRows(logits, width, [&](int64_t row, int64_t first) {
    const float largest = Largest(all + first, width);
    to[row] = of_row(row, all + first, largest, SumOfPowers(all + first, width, largest));
  });
  return results;
}

// LogSumExp(), or CrossEntropy() of p.
at::Tensor ByKernel(const at::Tensor& logits, const at::Tensor& p) {
  const c10::DeviceGuard here(logits.device());
  at::Tensor results = at::empty({logits.size(0)}, logits.options());
  cuda::Launch(cuda::LogSumExp{logits.size(0), logits.size(1), logits.const_data_ptr<float>(),
                               p.defined() ? p.const_data_ptr<float>() : nullptr},
               results.mutable_data_ptr<float>(), cuda::CurrentStream());
  return results;
}

}  // namespace

at::Tensor LogSumExp(const at::Tensor& logits) {
  if (HasLoops(logits)) {
    return OfRows(logits, [](int64_t, const uint16_t*, float largest, float sum) {
      return largest + std::log(sum);
    });
  }
  if (HasKernel(logits)) return ByKernel(logits, {});
  return at::logsumexp(logits.to(at::kFloat), 1);
}

at::Tensor Probabilities(const at::Tensor& logits, at::Tensor* p) {
  if (!HasLoops(logits)) {
    const at::Tensor log_p = at::log_softmax(logits.to(at::kFloat), 1);
    at::exp_out(*p, log_p);
    return at::linalg_vecdot(*p, log_p);
  }
  const int64_t width = logits.size(1);
  auto* to = p->mutable_data_ptr<float>();
  return OfRows(logits, [&](int64_t row, const uint16_t* of_row, float largest, float sum) {
    return Shares(of_row, width, largest, sum, to + row * width) - std::log(sum);
  });
}

at::Tensor CrossEntropy(const at::Tensor& p, const at::Tensor& logits) {
  if (HasLoops(logits)) {
    const int64_t width = logits.size(1);
    const auto* weights = p.const_data_ptr<float>();
    return OfRows(logits, [&](int64_t row, const uint16_t* of_row, float largest, float sum) {
      return std::log(sum) - Along(weights + row * width, of_row, width, largest);
    });
  }
  if (HasKernel(logits) && IsAligned(p)) return ByKernel(logits, p);
  return -at::linalg_vecdot(p, at::log_softmax(logits.to(at::kFloat), 1));
}

at::Tensor NextTokenGradient(const at::Tensor& logits, const at::Tensor& next,
                             at::Tensor* by_logits) {
  const bool rounded = by_logits->scalar_type() == at::kBFloat16;
  if (HasLoops(logits) && rounded) {
    const int64_t width = logits.size(1);
    const auto* tokens = next.const_data_ptr<int64_t>();
    uint16_t* to = MutableBits(*by_logits);
    return OfRows(logits, [&](int64_t row, const uint16_t* of_row, float largest, float sum) {
      uint16_t* by_row = to + row * width;
      const float likely = std::exp(Widened(of_row[tokens[row]]) - largest) / sum;
      RoundedShares(of_row, width, largest, sum, by_row);
      by_row[tokens[row]] = Rounded(likely - 1);
      return likely;
    });
  }
  if (HasKernel(logits) && rounded && IsAligned(*by_logits)) {
    const c10::DeviceGuard here(logits.device());
    at::Tensor likely = at::empty({logits.size(0)}, logits.options());
    cuda::Launch(
        cuda::NextTokenGradient{logits.size(0), logits.size(1), logits.const_data_ptr<float>(),
                                next.const_data_ptr<int64_t>()},
        by_logits->mutable_data_ptr(), likely.mutable_data_ptr<float>(), cuda::CurrentStream());
    return likely;
  }
  at::Tensor p = at::softmax(logits.to(at::kFloat), 1);
  const at::Tensor of_next = next.unsqueeze(1);
  const at::Tensor likely = p.gather(1, of_next);
  by_logits->copy_(p.scatter_(1, of_next, likely - 1));
  return likely.squeeze(1);
}

}  // namespace coppice
