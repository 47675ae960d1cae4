#include "core/file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

// A folder of its own for every test, removed afterwards.
class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(testing::TempDir()) / fmt::format("coppice-{}-{}", info->name(), ::getpid());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::vector<std::string> Names(const fs::path& folder) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  using Strings = std::vector<std::string>;

  fs::path root_;
};

// Expects `statement` to throw an Error of this code whose line holds `part`.
template <typename Statement>
void ExpectError(ExitCode code, const std::string& part, Statement statement) {
  try {
    statement();
    ADD_FAILURE() << "no Error; wanted: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST_F(FileTest, AtomicFileAppearsAtCommitOnly) {
  const fs::path path = root_ / "a.txt";
  {
    AtomicFile file(path);
    file.Write("one ");
    file.Write("two");
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(Names(root_).size(), 1u);  // the temporary one
    file.Commit();
  }
  EXPECT_EQ(ReadFile(path), "one two");
  EXPECT_EQ(Names(root_), Strings{"a.txt"});
}

TEST_F(FileTest, AtomicFileWithoutCommitLeavesTheOldContent) {
  const fs::path path = root_ / "a.txt";
  WriteFile(path, "old");
  {
    AtomicFile file(path);
    file.Write("new");
  }
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_EQ(Names(root_), Strings{"a.txt"});
}

TEST_F(FileTest, AtomicFileReplacesAtCommit) {
  WriteFile(root_ / "a.txt", "old and long");
  WriteFile(root_ / "a.txt", "new");
  EXPECT_EQ(ReadFile(root_ / "a.txt"), "new");
}

TEST_F(FileTest, TwoAtomicFilesOfOneNameDoNotMix) {
  AtomicFile first(root_ / "a.txt");
  AtomicFile second(root_ / "a.txt");
  first.Write("first");
  second.Write("second");
  second.Commit();
  EXPECT_EQ(ReadFile(root_ / "a.txt"), "second");
  first.Commit();
  EXPECT_EQ(ReadFile(root_ / "a.txt"), "first");
}

TEST_F(FileTest, AtomicFileTakesTheLongestName) {
  const fs::path path = root_ / std::string(255, 'n');
  WriteFile(path, "text");
  EXPECT_EQ(ReadFile(path), "text");
}

TEST_F(FileTest, AtomicFileFailures) {
  ExpectError(ExitCode::kEnvironment, "No such file or directory",
              [&] { WriteFile(root_ / "absent" / "a.txt", "x"); });
  ExpectError(ExitCode::kEnvironment, "Is a directory", [&] { WriteFile(root_, "x"); });
  AtomicFile file(root_ / "a.txt");
  file.Commit();
  EXPECT_THROW(file.Commit(), InternalError);
  EXPECT_THROW(file.Write("x"), InternalError);
}

// A limit on file size stands in for a full disk: write() fails half way.
TEST_F(FileTest, AtomicFileLeavesNothingWhenTheDiskFails) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto signal_before = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string line;
  try {
    WriteFile(root_ / "a", std::string(5000, 'x'));
  } catch (const Error& error) {
    line = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, signal_before);
  EXPECT_NE(line.find("a: cannot write: File too large"), std::string::npos) << line;
  EXPECT_EQ(Names(root_), Strings{});
}

TEST_F(FileTest, ReadFileReadsEverySizeUpToTheLimit) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    const std::string text(size, 'x');
    WriteFile(root_ / "a", text);
    EXPECT_TRUE(ReadFile(root_ / "a", size) == text) << size;
  }
  ExpectError(ExitCode::kBadInput, "expected at most 9 bytes, found 1048577",
              [&] { ReadFile(root_ / "a", 9); });
}

TEST_F(FileTest, ReadFileFailures) {
  ExpectError(ExitCode::kBadInput, "absent: cannot read: No such file or directory",
              [&] { ReadFile(root_ / "absent"); });
  ExpectError(ExitCode::kBadInput, "cannot read: it is a folder", [&] { ReadFile(root_); });
}

TEST_F(FileTest, OutputFolderAppearsAtCommitOnly) {
  const fs::path path = root_ / "deep" / "er" / "out";
  {
    OutputFolder folder(path, false);
    WriteFile(folder.path() / "a", "text");
    fs::create_directory(folder.path() / "sub");
    WriteFile(folder.path() / "sub" / "b", "text");
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(folder.path().parent_path(), path.parent_path());
    folder.Commit();
  }
  EXPECT_EQ(Names(path), (Strings{"a", "sub"}));
  EXPECT_EQ(Names(path.parent_path()), Strings{"out"});
}

TEST_F(FileTest, OutputFolderWithoutCommitLeavesNothing) {
  {
    OutputFolder folder(root_ / "out", false);
    WriteFile(folder.path() / "a", "text");
  }
  EXPECT_EQ(Names(root_), Strings{});
}

TEST_F(FileTest, OutputFolderTakesAnEmptyFolder) {
  fs::create_directory(root_ / "out");
  OutputFolder folder(root_ / "out/", false);
  WriteFile(folder.path() / "a", "text");
  folder.Commit();
  EXPECT_EQ(Names(root_ / "out"), Strings{"a"});
  EXPECT_EQ(Names(root_), Strings{"out"});
}

TEST_F(FileTest, OutputFolderRefusesAFilledFolder) {
  fs::create_directory(root_ / "out");
  WriteFile(root_ / "out" / "precious", "text");
  ExpectError(ExitCode::kUsage, "--force", [&] { OutputFolder(root_ / "out", false); });
  EXPECT_EQ(Names(root_), Strings{"out"});
  EXPECT_EQ(ReadFile(root_ / "out" / "precious"), "text");
}

TEST_F(FileTest, OutputFolderRefusesAFolderFilledInTheMeantime) {
  {
    OutputFolder folder(root_ / "out", false);
    fs::create_directory(root_ / "out");
    WriteFile(root_ / "out" / "precious", "text");
    ExpectError(ExitCode::kEnvironment, "cannot put the new folder in place",
                [&] { folder.Commit(); });
  }
  EXPECT_EQ(Names(root_ / "out"), Strings{"precious"});
  EXPECT_EQ(Names(root_), Strings{"out"});
}

TEST_F(FileTest, OutputFolderReplacesAtCommitOnly) {
  fs::create_directories(root_ / "out" / "sub");
  WriteFile(root_ / "out" / "old", "text");
  { OutputFolder dropped(root_ / "out", true); }
  EXPECT_EQ(Names(root_ / "out"), (Strings{"old", "sub"}));
  OutputFolder folder(root_ / "out", true);
  WriteFile(folder.path() / "new", "text");
  EXPECT_EQ(Names(root_ / "out"), (Strings{"old", "sub"}));
  folder.Commit();
  EXPECT_EQ(Names(root_ / "out"), Strings{"new"});
  EXPECT_EQ(Names(root_), Strings{"out"});
}

TEST_F(FileTest, CopiesAreWholeAndAtomic) {
  const std::string text(3 << 20, 'x');
  WriteFile(root_ / "a", text);
  CopyFile(root_ / "a", root_ / "b");
  EXPECT_TRUE(ReadFile(root_ / "b") == text);
  EXPECT_THROW(CopyFile(root_ / "none", root_ / "c"), Error);
  EXPECT_EQ(Names(root_), (Strings{"a", "b"}));
}

TEST_F(FileTest, OutputFolderFollowsALink) {
  fs::create_directory(root_ / "target");
  fs::create_directory_symlink("target", root_ / "out");
  OutputFolder folder(root_ / "out", false);
  WriteFile(folder.path() / "a", "text");
  folder.Commit();
  EXPECT_TRUE(fs::is_symlink(root_ / "out"));
  EXPECT_EQ(Names(root_ / "target"), Strings{"a"});
}

TEST_F(FileTest, OutputFolderRefusesWhatCannotBecomeOne) {
  WriteFile(root_ / "file", "text");
  fs::create_symlink("nowhere", root_ / "broken");
  for (const bool replace : {false, true}) {
    ExpectError(ExitCode::kUsage, "found a file", [&] { OutputFolder(root_ / "file", replace); });
    ExpectError(ExitCode::kUsage, "a broken link",
                [&] { OutputFolder(root_ / "broken", replace); });
    for (const char* name : {"", ".", "..", "/", "a/..", "../.."}) {
      ExpectError(ExitCode::kUsage, "cannot be the output folder",
                  [&] { OutputFolder(name, replace); });
    }
    ExpectError(ExitCode::kEnvironment, "file: cannot create the folder",
                [&] { OutputFolder(root_ / "file" / "out", replace); });
  }
  EXPECT_EQ(ReadFile(root_ / "file"), "text");
}

TEST_F(FileTest, OutputFolderNeverReplacesTheCurrentFolder) {
  fs::create_directory(root_ / "inner");
  const fs::path before = fs::current_path();
  fs::current_path(root_ / "inner");
  ExpectError(ExitCode::kUsage, "holds the current folder", [&] { OutputFolder(root_, true); });
  fs::current_path(before);
  EXPECT_TRUE(fs::exists(root_ / "inner"));
}

// FIPS 180-4 examples (NIST), and lengths around the padding's edges: 55, 56, 63, 64, 119, 120.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PaddingEdges) {
  // By Python: hashlib.sha256(b"a" * n).hexdigest()[:16]
  const std::vector<std::pair<size_t, std::string>> cases = {
      {55, "9f4390f8d30c2dd9"},  {56, "b35439a4ac6f0948"}, {63, "7d3e74a05d7db15b"},
      {64, "ffe054fe7ae0cb6d"},  {65, "635361c48bb9eab1"}, {119, "31eba51c313a5c08"},
      {120, "2f3d335432c70b58"}, {128, "6836cf13bac400e9"}};
  for (const auto& [size, start] : cases) {
    EXPECT_EQ(Sha256Hex(std::string(size, 'a')).substr(0, 16), start) << size;
  }
}

TEST_F(FileTest, Sha256OfAFileEqualsThatOfItsBytes) {
  std::string bytes;
  for (int i = 0; i < 2500000; ++i) bytes += static_cast<char>(i * 31 >> 3);
  WriteFile(root_ / "a", bytes);
  EXPECT_EQ(Sha256HexOfFile(root_ / "a"), Sha256Hex(bytes));
  WriteFile(root_ / "a", "");
  EXPECT_EQ(Sha256HexOfFile(root_ / "a"), Sha256Hex(""));
  ExpectError(ExitCode::kBadInput, "absent: cannot read",
              [&] { Sha256HexOfFile(root_ / "absent"); });
  ExpectError(ExitCode::kBadInput, "cannot read", [&] { Sha256HexOfFile(root_); });
}

}  // namespace
}  // namespace coppice
