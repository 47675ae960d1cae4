// What can be said of a prune's options before any file is read.
#pragma once

#include "pipeline/prune.h"

namespace coppice {

// Throws Error (kUsage) for values out of range and for options that exclude each other.
void CheckPruneOptions(const PruneOptions& options);

}  // namespace coppice
