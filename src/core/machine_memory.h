// How much memory this process may count on.
#pragma once

#include <cstdint>

namespace coppice {

// Without a limit.
inline constexpr int64_t kUnlimited = INT64_MAX;

// Bytes of the machine's memory, or of its control group's limit where that is lower.
int64_t MachineMemoryBytes();

// What one kind of data that can also wait on disk may take of it: a quarter, since several kinds
// are alive at one time, and work needs room besides.
int64_t UsualMemoryBytes();

}  // namespace coppice
