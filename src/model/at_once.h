// Pieces of work on the CPU's threads.
#pragma once

#include <cstdint>
#include <functional>

#include "model/network.h"

namespace coppice {

// Runs work(0), ..., work(count - 1). On the CPU as many at once as there are threads, each on one
// of them: products take as long as on all threads together, and what stands between them, most of
// which LibTorch does on one thread, takes place beside them. On a GPU one after the other. What
// work() throws is thrown again; it is to touch nothing of another's but what it only reads.
void ForEachAtOnce(const Compute& compute, int64_t count, const std::function<void(int64_t)>& work);

// How many that is.
int64_t AtOnce(const Compute& compute);

}  // namespace coppice
