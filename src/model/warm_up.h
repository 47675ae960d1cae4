// What a GPU loads when it is first asked for something.
#pragma once

#include "model/network.h"

namespace coppice {

// Makes a GPU load what it will need, which takes as long as reading a model does: beside that.
void WarmUp(const Compute& compute);

}  // namespace coppice
