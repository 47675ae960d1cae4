// A Gauss-Newton step on the matrices that a feed-forward sub-layer reads with.
//
// Least squares refits the output projection W (C, D) alone; what it leaves, R (M, D), can be made
// smaller by the matrices before the activation, too. With pre-activations z = x U + c, (M, C), and
// slopes s = dX / dz, R asks a change of z for
//
//     A = s o (R W') ,    and the Gauss-Newton matrix of U is near    x'x  (x)  B ,
//     B = (W W') o E[s s'] ,    E[s s'] taken for mean(s) mean(s)' + diag(var(s)) ,
//
// a Kronecker product (Martens and Grosse 2015, Botev et al. 2017), so that the step is solved in
// closed form: dU = l (x'x + ridge)^-1 x'A B^-1. Its length l minimises what is left on held-out
// samples, along the branch made linear. Gated layers have two matrices, gate and up, whose slopes
// stand side by side. The projection wants another refit afterwards.
//
// All of it in the metric of what reads the stream next: a token's rows, of x and R alike, are
// divided by the deviation of the teacher's sum there, and in encoders, whose norm follows at once,
// R and W are multiplied by the norm's gain. Otherwise a few tokens of huge norm, which the norm
// makes small again, take all the steps.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tune/streams.h"
#include "tune/student.h"

namespace coppice {

struct GaussNewtonStep {
  std::map<std::string, at::Tensor> tensors;  // new matrices and biases by name, float32
  double explained = 0;  // share of what is left on the held-out samples that the step promises
};

// Of the student's sub-layer `index`, channels, whose streams have their targets. Without held-out
// samples the fitted ones say how long the step is. No tensors where no step helps.
GaussNewtonStep MakeGaussNewtonStep(const Student& student, size_t index,
                                    const std::vector<Streams>& streams);

}  // namespace coppice
