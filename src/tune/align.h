// Alignment of what a sub-layer reads: the ridge map from the student's input to the teacher's,
//
//     M = argmin || [z_S 1] M - z_T ||^2 ,    damped toward the identity,
//
// folded into the matrices that read z, which are then as good as reading z_T. z is the residual
// stream, or its RMS norm where a norm stands before the branch.
#pragma once

#include <map>
#include <string>

#include "model/model.h"
#include "tune/repair.h"

namespace coppice {

// Whether all matrices that read the sub-layer's input have a bias, which an intercept can go into.
bool ReadersHaveBias(const Model& model, const SubLayerSpec& sub);

// New matrices (and biases) of the sub-layer, by name, float32. alignment: the fit of
// z_T - z_S from z_S, (D, D) and (D).
std::map<std::string, at::Tensor> FoldAlignment(const Model& model, const SubLayerSpec& sub,
                                                const RepairResult& alignment);

}  // namespace coppice
