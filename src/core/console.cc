#include "core/console.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace coppice {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr int kBarWidth = 24;

std::string Duration(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{:.0f} min {:02.0f} s", std::floor(seconds / 60), std::fmod(seconds, 60));
}

}  // namespace

void Say(const std::string& text) {
  std::fputs(text.c_str(), stderr);  // not fmt::print(), which throws
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Console::Console(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void Console::Note(const std::string& line) const {
  if (!quiet_) Say(fmt::format("{}\n", line));
}

void Console::Warn(const std::string& line) const { Say(fmt::format("warning: {}\n", line)); }

Progress::Progress(const Console& console, std::string stage, int64_t total)
    : console_(console),
      stage_(std::move(stage)),
      total_(total),
      start_(Now()),
      last_drawn_(start_) {}

void Progress::Step(int64_t count) {
  const std::lock_guard lock(mutex_);
  done_ += count;
  if (console_.quiet() || !console_.terminal() || Now() - last_drawn_ < kRedrawSeconds) return;
  last_drawn_ = Now();
  Draw();
}

void Progress::Draw() const {
  const double seconds = Now() - start_;
  const double share =
      total_ > 0 ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)) : 0;
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
  const int filled = static_cast<int>(share * kBarWidth);
  Say(fmt::format("\r{:<12} [{}{}] {}/{}  {:.1f}/s  {} left \x1b[K", stage_,
                  std::string(static_cast<size_t>(filled), '#'),
                  std::string(static_cast<size_t>(kBarWidth - filled), '.'), done_, total_, rate,
                  Duration(left)));
  std::fflush(stderr);
}

Progress::~Progress() {
  if (console_.quiet()) return;
  Say(fmt::format("{}{:<12} {}\n", console_.terminal() ? "\r\x1b[K" : "", stage_,
                  Duration(Now() - start_)));
}

int64_t PeakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace coppice
