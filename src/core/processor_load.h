// How busy the processors are with other programs: what makes measured times worthless, even where
// they spread little.
#pragma once

#include <cstdint>

namespace coppice {

class ProcessorLoad {
 public:
  ProcessorLoad();  // starts to count

  // Processors that other programs had in use since then, in the mean; 0 where the system does not
  // say (it does on Linux). Programs that this one ran to their end are not others.
  double Others() const;

  // Whether they left fewer than `threads` processors to this program.
  bool Crowds(int threads) const;

 private:
  double start_;       // seconds
  double busy_, own_;  // seconds of processors, at the start
};

}  // namespace coppice
