#include "core/processor_load.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "core/console.h"

namespace coppice {
namespace {

// Seconds that all processors together were not idle; negative where the system does not say.
double BusySeconds() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, soft = 0;
  if (!(file >> name >> user >> nice >> system >> idle >> waiting >> irq >> soft) || name != "cpu")
    return -1;
  return (user + nice + system + irq + soft) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double OwnSeconds() {
  double seconds = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    struct rusage usage = {};
    if (::getrusage(who, &usage) != 0) continue;
    for (const timeval& time : {usage.ru_utime, usage.ru_stime})
      seconds += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  }
  return seconds;
}

}  // namespace

ProcessorLoad::ProcessorLoad() : start_(Now()), busy_(BusySeconds()), own_(OwnSeconds()) {}

double ProcessorLoad::Others() const {
  const double seconds = Now() - start_;
  const double busy = BusySeconds();
  if (busy_ < 0 || busy < 0 || seconds <= 0) return 0;
  return std::max(0.0, (busy - busy_) - (OwnSeconds() - own_)) / seconds;
}

bool ProcessorLoad::Crowds(int threads) const {
  constexpr double kLittle = 0.25;  // processors: what a system does for itself
  const auto processors = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  return Others() > std::max(0.0, processors - static_cast<double>(threads)) + kLittle;
}

}  // namespace coppice
