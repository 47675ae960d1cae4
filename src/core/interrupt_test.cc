#include "core/interrupt.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <thread>

#include "core/file.h"
#include "core/subprocess.h"
#include "core/temporary_folder.h"
#include "testdata.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Strings = std::vector<std::string>;

// Runs `work` in a child process that removes temporaries on an interrupt; the constructor returns
// when `work` has called its argument.
class Child {
 public:
  explicit Child(const std::function<void(const std::function<void()>& ready)>& work) {
    int ends[2] = {};
    EXPECT_EQ(::pipe(ends), 0);
    process_ = ::fork();
    if (process_ == 0) {
      ::alarm(60);
      RemoveTemporariesOnInterrupt();
      work([&] { EXPECT_EQ(::write(ends[1], "x", 1), 1); });
      ::_exit(0);
    }
    ::close(ends[1]);
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    ::close(ends[0]);
  }

  void Send(int signal) const { ::kill(process_, signal); }
  bool Ended() { return ::waitpid(process_, &status_, WNOHANG) == process_; }
  // The signal that ended it; 0 where none did.
  int Wait() {
    ::waitpid(process_, &status_, 0);
    return WIFSIGNALED(status_) ? WTERMSIG(status_) : 0;
  }

 private:
  pid_t process_ = 0;
  int status_ = 0;
};

[[noreturn]] void Sleep() {
  while (true) ::pause();
}

TEST(InterruptHold, RemovesWhatIsInTheListTheNewestFirst) {
  const TempFolder root;
  const fs::path parent = root.path() / "parent", shared = root.path() / "shared";
  for (const fs::path& folder : {parent / "tree", shared}) fs::create_directories(folder);
  for (const fs::path& file : {parent / "tree" / "a", shared / "b", root.path() / "c"})
    WriteFile(file, "text");
  InterruptHold hold;
  hold.AddWhileEmpty(parent);
  hold.Add(parent / "tree");
  hold.AddWhileEmpty(shared);
  hold.Add(root.path() / "c");
  hold.Add(root.path() / "never there");
  hold.RemoveAll();
  EXPECT_EQ(root.Names(), Strings{"shared"});
}

TEST(InterruptHold, LeavesWhatWasDropped) {
  const TempFolder root;
  WriteFile(root.path() / "a", "text");
  InterruptHold hold;
  hold.Add(root.path() / "a");
  hold.Drop(root.path() / "a");
  hold.RemoveAll();
  EXPECT_EQ(root.Names(), Strings{"a"});
}

// What is written in this process in the end is in nobody's list.
TEST(InterruptHold, ForgetsWhatIsDone) {
  const TempFolder root;
  {
    OutputFolder dropped(root.path() / "dropped" / "out", false);
    OutputFolder out(root.path() / "deep" / "out", false);
    WriteFile(out.path() / "a", "text");
    out.Commit();
    fs::create_directory(root.path() / "dropped");
  }
  fs::create_directory(root.path() / "dropped");
  InterruptHold().RemoveAll();
  EXPECT_EQ(root.Names(), (Strings{"deep", "dropped"}));
  EXPECT_EQ(ReadFile(root.path() / "deep" / "out" / "a"), "text");
}

TEST(Interrupt, LeavesNothingAndEndsByTheSignal) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const TempFolder root;
    ::setenv("TMPDIR", root.path().c_str(), 1);
    Child child([&](const auto& ready) {
      const OutputFolder out(root.path() / "deep" / "er" / "out", false);
      const AtomicFile file(root.path() / "file");
      const AtomicFile inside(out.path() / "inside");
      const TemporaryFolder folder;
      ready();
      Sleep();
    });
    ::unsetenv("TMPDIR");
    EXPECT_EQ(root.Names().size(), 3u);
    child.Send(signal);
    EXPECT_EQ(child.Wait(), signal);
    EXPECT_EQ(root.Names(), Strings{});
  }
}

// Folders are filled and replaced while the signal comes, at another moment each time.
TEST(Interrupt, LeavesAWholeFolderInTheMidstOfWriting) {
  for (int moment = 0; moment < 20; ++moment) {
    const TempFolder root;
    const fs::path path = root.path() / "out";
    Child child([&](const auto& ready) {
      for (int i = 0;; ++i) {
        OutputFolder out(path, true);
        for (const char* name : {"a", "b", "c"}) WriteFile(out.path() / name, fmt::format("{}", i));
        out.Commit();
        if (i == 0) ready();
      }
    });
    std::this_thread::sleep_for(milliseconds(moment));
    child.Send(SIGINT);
    EXPECT_EQ(child.Wait(), SIGINT);
    EXPECT_EQ(root.Names(), Strings{"out"});
    EXPECT_EQ(ReadFile(path / "a"), ReadFile(path / "b"));
    EXPECT_EQ(ReadFile(path / "a"), ReadFile(path / "c"));
  }
}

TEST(Interrupt, ASecondSignalEndsItAtOnce) {
  Child child([&](const auto& ready) {
    const InterruptHold hold;  // as if the removal took for ever
    ready();
    Sleep();
  });
  child.Send(SIGTERM);
  child.Send(SIGTERM);  // the same one, of a wrapper that sends it twice
  std::this_thread::sleep_for(milliseconds(400));
  EXPECT_FALSE(child.Ended());
  child.Send(SIGINT);
  EXPECT_EQ(child.Wait(), SIGINT);
}

TEST(Interrupt, WhatWasIgnoredStaysIgnored) {
  const auto before = ::signal(SIGHUP, SIG_IGN);
  Child child([&](const auto& ready) {
    ready();
    Sleep();
  });
  ::signal(SIGHUP, before);
  child.Send(SIGHUP);
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_FALSE(child.Ended());
  child.Send(SIGTERM);
  EXPECT_EQ(child.Wait(), SIGTERM);
}

TEST(Interrupt, OtherProgramsAreEndedAsEver) {
  Child child([&](const auto& ready) {
    if (RunProgram({"sh", "-c", "kill -INT $$; sleep 9"}, "").code == 128 + SIGINT) ready();
    Sleep();
  });
  child.Send(SIGTERM);
  EXPECT_EQ(child.Wait(), SIGTERM);
}

}  // namespace
}  // namespace coppice
