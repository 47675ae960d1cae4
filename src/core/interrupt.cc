#include "core/interrupt.h"

#include <semaphore.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <system_error>
#include <thread>
#include <vector>

#include "core/file.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

struct Temporary {
  fs::path path;
  bool only_empty = false;
};

struct List {
  std::mutex mutex;
  std::vector<Temporary> temporaries;
};

// Never destroyed: the thread below may outlive main().
List& TheList() {
  static List* const list = new List;
  return *list;
}

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

// Signals that come this soon after the first are the same one: timeout(1) and some wrappers send
// it to the process and to its group.
constexpr int64_t kSameMilliseconds = 250;

// What the handler may use: it can interrupt anything, so that it only notes and wakes a thread.
static_assert(std::atomic<int64_t>::is_always_lock_free);
std::atomic<int64_t> first_at = 0;  // milliseconds; 0: no signal yet
std::atomic<int> first_signal = 0;
sem_t arrived;

int64_t Milliseconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000 + 1;
}

// In a handler, when it returns.
void EndBy(int signal) {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void OnSignal(int signal) {
  const int error = errno;
  const int64_t now = Milliseconds();
  int64_t first = 0;
  if (first_at.compare_exchange_strong(first, now)) {
    first_signal = signal;
    ::sem_post(&arrived);
  } else if (now - first >= kSameMilliseconds) {
    EndBy(signal);
  }
  errno = error;
}

void WaitForSignal() {
  while (::sem_wait(&arrived) != 0) {
  }
  InterruptHold hold;  // never given back
  hold.RemoveAll();
  EndBy(first_signal);
}

}  // namespace

InterruptHold::InterruptHold() : lock_(TheList().mutex) {}

void InterruptHold::Add(const fs::path& path) { TheList().temporaries.push_back({.path = path}); }

void InterruptHold::AddWhileEmpty(const fs::path& path) {
  TheList().temporaries.push_back({.path = path, .only_empty = true});
}

void InterruptHold::Drop(const fs::path& path) {
  std::erase_if(TheList().temporaries, [&](const Temporary& one) { return one.path == path; });
}

void InterruptHold::RemoveAll() {
  std::vector<Temporary>& temporaries = TheList().temporaries;
  std::error_code ignored;
  for (; !temporaries.empty(); temporaries.pop_back()) {
    const Temporary& last = temporaries.back();
    last.only_empty ? fs::remove(last.path, ignored) : RemoveTree(last.path);
  }
}

void RemoveTemporariesOnInterrupt() {
  ::sem_init(&arrived, 0, 0);
  try {
    std::thread(WaitForSignal).detach();
  } catch (const std::system_error&) {
    return;  // signals end the program as if this had not been called
  }
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) ::sigaddset(&action.sa_mask, signal);
  for (const int signal : kSignals) {
    struct sigaction before = {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace coppice
