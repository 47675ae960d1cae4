#include "core/processor_load.h"

#include <gtest/gtest.h>

#include "core/console.h"

namespace coppice {
namespace {

// This program's own work is not that of others: one busy thread never crowds out itself more than
// the machine's other programs do. What those do cannot be known here, only that it is a number of
// processors.
TEST(ProcessorLoad, CountsProcessors) {
  const ProcessorLoad load;
  const double end = Now() + 0.2;
  volatile double sum = 0;
  while (Now() < end) sum = sum + 1;
  EXPECT_GE(load.Others(), 0);
  EXPECT_LT(load.Others(), 4096);
  EXPECT_FALSE(load.Crowds(-4096));  // none wanted: as many are left
}

}  // namespace
}  // namespace coppice
