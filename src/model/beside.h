// Threads that use one GPU side by side, each on a stream of its own.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include <future>
#include <optional>
#include <utility>

#include "model/network.h"

namespace coppice {

// How far the calling thread has come: all that it has asked of the device so far. Nothing on the
// CPU, where it is done.
std::optional<c10::Event> AskedSoFar(const Compute& compute);

// While it lives, what this thread asks of a GPU goes to a stream of its own, behind `before`; when
// it goes, all of that is done. Nothing on the CPU.
class OwnStream {
 public:
  OwnStream(const Compute& compute, std::optional<c10::Event>* before);
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  ~OwnStream();

 private:
  std::optional<c10::Stream> stream_;
  std::optional<c10::StreamGuard> guard_;
};

// Runs work() on another thread and stream, behind what this thread has asked so far. What the work
// reads must live until its future is there.
template <typename Work>
auto Beside(const Compute& compute, Work work) {
  return std::async(std::launch::async,
                    [compute, before = AskedSoFar(compute), work = std::move(work)]() mutable {
                      const OwnStream stream(compute, &before);
                      return work();
                    });
}

}  // namespace coppice
