// Cholesky factors of matrices of moments, which may be singular up to rounding.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// The lower factor of a symmetric matrix, (n, n) or a batch; undefined where one has none. cuSOLVER
// gives factors of NaN for some matrices that are nearly singular and reports success.
at::Tensor CholeskyFactor(const at::Tensor& matrix);

// The factor of matrix + g * mean(diagonal) * Id for the first g of ridge, 10 ridge, 100 ridge, ...
// (after 0 it is 1e-8) that has one, which *ridge then is; undefined if none has up to 1e6: the
// matrix is not finite.
at::Tensor DampedFactor(const at::Tensor& matrix, double* ridge);

// x with A x = right, A being factor factor': (n, D). factor: (n, n).
at::Tensor SolveByFactor(const at::Tensor& factor, const at::Tensor& right);

// A^-1, on the CPU in the factor's own memory: such a matrix may be a gigabyte.
at::Tensor InverseByFactor(at::Tensor factor);

}  // namespace coppice
