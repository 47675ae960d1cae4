// What a GPU loads when it is first asked for something: kernels, library handles, plans.
#pragma once

#include "model/network.h"

namespace coppice {

// Runs gradients, a sweep and a repair of an encoder of one small layer. A GPU's libraries load
// every kernel when it is first used, which takes as long as reading a model does: beside that.
void WarmUp(const Compute& compute);

}  // namespace coppice
