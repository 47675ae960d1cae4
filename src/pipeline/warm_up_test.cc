#include "pipeline/warm_up.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

// What it is for needs a GPU (scripts/test_cuda); that its network runs does not.
TEST(WarmUpTest, RunsInEitherDtype) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    EXPECT_NO_THROW(WarmUp({at::kCPU, dtype}));
}

}  // namespace
}  // namespace coppice
