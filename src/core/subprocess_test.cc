#include "core/subprocess.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(Subprocess, GivesInputTakesOutputErrorsAndCode) {
  const ProgramResult result =
      RunProgram({"sh", "-c", "cat; echo \"$1\" >&2; exit 3", "sh", "a 'b' $c"}, "text\n");
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.output, "text\n");
  EXPECT_EQ(result.errors, "a 'b' $c\n");
}

TEST(Subprocess, TakesMoreThanAPipeHolds) {
  const std::string text(1 << 20, 'x');
  const ProgramResult result = RunProgram({"cat"}, text);
  EXPECT_EQ(result.code, 0);
  EXPECT_TRUE(result.output == text);
}

TEST(Subprocess, SaysThatThereIsNoSuchProgram) {
  EXPECT_EQ(RunProgram({"no-such-program-of-coppice"}, "").code, 127);
}

TEST(Subprocess, PutsItsFilesWhereTheUserSays) {
  ::setenv("TMPDIR", testing::TempDir().c_str(), 1);
  EXPECT_EQ(RunProgram({"cat"}, "text").output, "text");
  ::unsetenv("TMPDIR");
}

TEST(Subprocess, SaysThatASignalEndedIt) {
  EXPECT_EQ(RunProgram({"sh", "-c", "kill -9 $$"}, "").code, 128 + 9);
}

TEST(Subprocess, ThePythonMayBeNamed) {
  ::setenv("COPPICE_PYTHON", "some-python", 1);
  EXPECT_EQ(PythonProgram(), "some-python");
  ::setenv("COPPICE_PYTHON", "", 1);
  EXPECT_EQ(PythonProgram(), "python3");
}

}  // namespace
}  // namespace coppice
