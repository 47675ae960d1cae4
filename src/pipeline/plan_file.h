// A plan in a file: coppice.json of a pruned folder, or one of a curve.
#pragma once

#include <filesystem>

#include "core/plan.h"

namespace coppice {

// Throws Error (kBadInput) for what is no plan.
Plan ReadPlan(const std::filesystem::path& file);

}  // namespace coppice
