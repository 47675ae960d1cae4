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

// Blocks below these bytes stay with the process when they are freed, once KeepSmallBlocks() was
// called.
inline constexpr int64_t kKeptBlockBytes = int64_t{8} << 20;

// Activations come and go in blocks of megabytes. Left to itself, glibc keeps blocks of up to 32
// MiB on its heap, where fragments double the peak; when all go back to the system at once, a third
// of the time goes into page faults. Once a program, before it works; nothing with another libc.
void KeepSmallBlocks();

}  // namespace coppice
