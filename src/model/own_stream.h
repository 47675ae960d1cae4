// Threads that use one GPU side by side.
#pragma once

#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include <optional>

#include "model/network.h"

namespace coppice {

// While it lives, what this thread asks of a GPU goes to a stream of its own, behind all that the
// thread had asked before; when it goes, all of that is done. Nothing on the CPU.
class OwnStream {
 public:
  explicit OwnStream(const Compute& compute);
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  ~OwnStream();

 private:
  std::optional<c10::Stream> stream_;
  std::optional<c10::StreamGuard> guard_;
};

// Makes a GPU load what it will need, which takes as long as reading a model does: beside that.
// Nothing on the CPU.
void WarmUp(const Compute& compute);

}  // namespace coppice
