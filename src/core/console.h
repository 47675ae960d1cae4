// What a person sees while the program works: everything on stderr. On a terminal a stage shows a
// bar with rate and time left; without one, a line when it ends. Also the clock of the stages.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace coppice {

// Writes to stderr; a stream that takes nothing, as on a full disk, costs no run.
void Say(const std::string& text);

// Seconds since an arbitrary point, monotonic.
double Now();

class Console {
 public:
  // `quiet` drops progress and notes; warnings stay.
  explicit Console(bool quiet);

  void Note(const std::string& line) const;
  void Warn(const std::string& line) const;

  bool quiet() const { return quiet_; }
  bool terminal() const { return terminal_; }

 private:
  bool quiet_;
  bool terminal_;
};

// One stage of `total` steps, which several threads may take. Reports itself when destroyed.
class Progress {
 public:
  Progress(const Console& console, std::string stage, int64_t total);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  void Step(int64_t count = 1);

 private:
  void Draw() const;
  std::mutex mutex_;
  const Console& console_;
  std::string stage_;
  int64_t total_;
  int64_t done_ = 0;
  double start_;
  double last_drawn_;
};

// Adds the seconds between construction and destruction to `*seconds`.
class StageClock {
 public:
  explicit StageClock(double* seconds) : seconds_(seconds), start_(Now()) {}
  StageClock(const StageClock&) = delete;
  StageClock& operator=(const StageClock&) = delete;
  ~StageClock() { *seconds_ += Now() - start_; }

 private:
  double* seconds_;
  double start_;
};

// Largest resident size of this process so far, bytes.
int64_t PeakMemoryBytes();

}  // namespace coppice
