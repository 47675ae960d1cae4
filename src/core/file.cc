#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

std::string Where(const fs::path& path) { return Printable(path.string(), 500); }
std::string Reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void ThrowDisk(std::string_view what, const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  ThrowEnvironment({.what = fmt::format("{}: {}", what, Reason(error)),
                    .where = Where(path),
                    .hint = full ? "free some space on that disk" : ""});
}

// Calls `create(path)` with hidden names beside `final_path` until one is free. The process id
// keeps two runs apart; the counter, two outputs of one run or what a killed run with our id left
// behind.
template <typename Create>
fs::path CreateBeside(const fs::path& final_path, std::string_view kind, Create create) {
  constexpr int kAttempts = 100;
  constexpr size_t kNameLimit = 200;  // the result must fit in NAME_MAX, 255
  const std::string name = final_path.filename().string().substr(0, kNameLimit);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    fs::path path = final_path.parent_path() /
                    fmt::format(".{}.coppice-{}-{}-{}", name, kind, ::getpid(), attempt);
    if (create(path)) return path;
    if (errno != EEXIST && errno != ENOTEMPTY) break;
  }
  ThrowDisk("cannot create it", final_path, errno);
}

void SyncFile(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) ThrowDisk("cannot open", path, errno);
  const int failed = ::fsync(descriptor) != 0 ? errno : 0;
  ::close(descriptor);
  if (failed != 0) ThrowDisk("cannot write", path, failed);
}

// Makes a rename last. Best effort: not every file system lets a folder be opened or synced, and
// the names in it are right already.
void SyncFolder(const fs::path& path) {
  const int descriptor = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

void Rename(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) ThrowDisk("cannot rename to it", to, errno);
}

constexpr size_t kChunk = size_t{1} << 20;

[[noreturn]] void ThrowUnreadable(const fs::path& path, const std::string& reason) {
  ThrowBadInput({.what = "cannot read: " + reason, .where = Where(path)});
}

std::ifstream OpenToRead(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) ThrowUnreadable(path, "it is a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) ThrowUnreadable(path, Reason(errno));
  return in;
}

}  // namespace

AtomicFile::AtomicFile(fs::path final_path) : final_path_(std::move(final_path)) {
  std::error_code ignored;
  if (fs::is_directory(final_path_, ignored)) ThrowDisk("cannot write", final_path_, EISDIR);
  InterruptHold hold;
  temporary_ = CreateBeside(final_path_, "tmp", [this](const fs::path& path) {
    descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return descriptor_ >= 0;
  });
  hold.Add(temporary_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  InterruptHold().Drop(temporary_);
}

void AtomicFile::Write(const void* data, size_t size) {
  Check(descriptor_ >= 0, "AtomicFile: Write() after Commit()");
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) ThrowDisk("cannot write", final_path_, errno);
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::Commit() {
  Check(descriptor_ >= 0, "AtomicFile: Commit() twice");
  if (::fsync(descriptor_) != 0) ThrowDisk("cannot write", final_path_, errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) ThrowDisk("cannot write", final_path_, errno);
  {
    InterruptHold hold;
    Rename(temporary_, final_path_);
    hold.Drop(temporary_);
    temporary_.clear();
  }
  SyncFolder(final_path_.parent_path());
}

void WriteFile(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.Write(text);
  file.Commit();
}

void CopyFile(const fs::path& from, const fs::path& to) {
  std::ifstream in = OpenToRead(from);
  AtomicFile out(to);
  std::string chunk(kChunk, '\0');
  while (in) {
    in.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    if (in.bad()) ThrowUnreadable(from, Reason(errno));
    out.Write(chunk.data(), static_cast<size_t>(in.gcount()));
  }
  out.Commit();
}

std::string ReadFile(const fs::path& path, uint64_t limit) {
  std::ifstream in = OpenToRead(path);
  std::string text;
  while (in) {
    const size_t size = text.size();
    text.resize(size + kChunk);
    in.read(text.data() + size, static_cast<std::streamsize>(kChunk));
    if (in.bad()) ThrowUnreadable(path, Reason(errno));
    text.resize(size + static_cast<size_t>(in.gcount()));
    if (text.size() > limit) {
      std::error_code ignored;
      const uint64_t found = fs::file_size(path, ignored);
      ThrowBadInput({.what = "the file is too large",
                     .where = Where(path),
                     .expected = fmt::format("at most {} bytes", limit),
                     .found = ignored ? "more" : fmt::format("{}", found)});
    }
  }
  return text;
}

namespace {

// Follows a symbolic link, so that Commit() replaces the folder it names and not the link; refuses
// what can never become an output folder.
fs::path ResolveOutput(const fs::path& given) {
  fs::path path = given.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "out/"
  if (!path.has_filename() || path == "." || path.filename() == "..") {
    ThrowUsage({.what = "cannot be the output folder",
                .where = Where(given),
                .hint = "name a folder of its own"});
  }
  std::error_code ignored;
  if (fs::is_symlink(fs::symlink_status(path, ignored))) {
    const fs::path target = fs::canonical(path, ignored);
    if (!target.empty()) path = target;
  }
  const fs::file_status status = fs::symlink_status(path, ignored);
  if (fs::exists(status) && !fs::is_directory(status)) {
    ThrowUsage({.what = "cannot be the output folder",
                .where = Where(given),
                .expected = "a new name or a folder",
                .found = fs::is_symlink(status) ? "a broken link" : "a file"});
  }
  return path;
}

// True when `folder` is the current folder or holds it: replacing it would remove far too much.
bool HoldsCurrentFolder(const fs::path& folder) {
  std::error_code error;
  const fs::path current = fs::current_path(error);
  for (fs::path at = current; !error; at = at.parent_path()) {
    if (fs::equivalent(at, folder, error)) return true;
    if (at == at.parent_path()) break;
  }
  return false;
}

// Exchanges two folders at one stroke, so that there is one of the name at any time; whether the
// file system can.
bool ChangePlaces(const fs::path& one, const fs::path& other) {
  return ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0;
}

// Files written by AtomicFile are on the disk already; copied ones may not be.
void SyncTree(const fs::path& folder) {
  std::error_code error;
  fs::recursive_directory_iterator entries(folder, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    const fs::file_status status = entries->symlink_status(error);
    if (fs::is_regular_file(status)) SyncFile(entries->path());
    if (fs::is_directory(status)) SyncFolder(entries->path());
  }
  if (error) ThrowDisk("cannot look into it", folder, error.value());
  SyncFolder(folder);
}

}  // namespace

bool RemoveTree(const fs::path& path) {
  constexpr int kOpenFolders = 16;
  const auto remove = [](const char* name, const struct stat*, int, struct FTW*) {
    ::remove(name);
    return 0;  // go on with the others
  };
  ::nftw(path.c_str(), remove, kOpenFolders, FTW_DEPTH | FTW_PHYS);
  std::error_code ignored;
  return !fs::exists(fs::symlink_status(path, ignored));
}

OutputFolder::OutputFolder(const fs::path& final_path, bool replace)
    : final_path_(ResolveOutput(final_path)), replace_(replace) {
  std::error_code error;
  const bool filled = fs::is_directory(final_path_, error) && !fs::is_empty(final_path_, error);
  const bool absent =
      error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
  if (error && !absent) ThrowDisk("cannot look into it", final_path_, error.value());
  if (filled && !replace) {
    ThrowUsage({.what = "the output folder exists and is not empty",
                .where = Where(final_path_),
                .hint = "give another folder, or --force to replace this one"});
  }
  if (filled && HoldsCurrentFolder(final_path_)) {
    ThrowUsage({.what = "the output folder holds the current folder and cannot be replaced",
                .where = Where(final_path_),
                .hint = "name a folder of its own"});
  }
  const fs::path parent = final_path_.parent_path();
  InterruptHold hold;
  for (fs::path at = parent; !at.empty() && !fs::exists(at, error); at = at.parent_path()) {
    new_parents_.push_back(at);
  }
  if (!parent.empty() && (fs::create_directories(parent, error), error)) {
    ThrowDisk("cannot create the folder", parent, error.value());
  }
  temporary_ = CreateBeside(final_path_, "tmp",
                            [](const fs::path& path) { return ::mkdir(path.c_str(), 0777) == 0; });
  // The outermost first: the newest go first.
  for (auto made = new_parents_.rbegin(); made != new_parents_.rend(); ++made)
    hold.AddWhileEmpty(*made);
  hold.Add(temporary_);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (committed_) return;
  RemoveTree(temporary_);
  for (const fs::path& parent : new_parents_) fs::remove(parent, ignored);  // only while empty
  InterruptHold hold;
  Forget(&hold);
}

void OutputFolder::Forget(InterruptHold* hold) const {
  hold->Drop(temporary_);
  for (const fs::path& parent : new_parents_) hold->Drop(parent);
}

fs::path OutputFolder::PutInPlace() {
  InterruptHold hold;
  std::error_code error;
  fs::path aside;
  const bool replaces = replace_ && fs::exists(final_path_, error);
  if (replaces && ChangePlaces(temporary_, final_path_)) {
    aside = temporary_;
  } else if (replaces) {
    aside = CreateBeside(final_path_, "old", [this](const fs::path& path) {
      return ::rename(final_path_.c_str(), path.c_str()) == 0;
    });
  }
  // Without `replace`, rename() itself refuses a folder that was filled in the meantime.
  if (aside != temporary_ && ::rename(temporary_.c_str(), final_path_.c_str()) != 0) {
    const int reason = errno;
    if (!aside.empty()) ::rename(aside.c_str(), final_path_.c_str());
    ThrowDisk("cannot put the new folder in place", final_path_, reason);
  }
  committed_ = true;
  SyncFolder(final_path_.parent_path());
  for (const fs::path& parent : new_parents_) SyncFolder(parent.parent_path());
  Forget(&hold);
  if (!aside.empty()) hold.Add(aside);
  return aside;
}

void OutputFolder::Commit() {
  Check(!committed_, "OutputFolder: Commit() twice");
  SyncTree(temporary_);
  const fs::path aside = PutInPlace();
  if (aside.empty()) return;
  const bool removed = RemoveTree(aside);
  const int reason = errno;
  InterruptHold().Drop(aside);
  if (!removed) ThrowDisk("the old folder was replaced, but cannot be removed", aside, reason);
}

}  // namespace coppice
