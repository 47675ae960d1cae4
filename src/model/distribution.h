// What is asked of a language model's distributions over next tokens, in one pass over the logits:
// LibTorch makes a softmax of them first, which is as large and is read again. Loops of bfloat16 on
// the CPU, kernels of float32 on a GPU (model/cuda/distribution.cu); others go LibTorch's way.
//
// logits: (m, V) bfloat16 or float32, contiguous and finite; results are float32.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// log sum exp: (m).
at::Tensor LogSumExp(const at::Tensor& logits);

// softmax(logits) into p: (m, V) float32, contiguous; the result: (m) the sums of p log p.
at::Tensor Probabilities(const at::Tensor& logits, at::Tensor* p);

// -sum p log softmax(logits): (m). p: (m, V) float32, contiguous, rows that sum up to one.
at::Tensor CrossEntropy(const at::Tensor& p, const at::Tensor& logits);

// The gradient by the logits of -log softmax(logits)[next] into by_logits, (m, V) bfloat16 or
// float32, which may be the logits; the result: (m) the probabilities of next. next: (m) int64.
at::Tensor NextTokenGradient(const at::Tensor& logits, const at::Tensor& next,
                             at::Tensor* by_logits);

}  // namespace coppice
