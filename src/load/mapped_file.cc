#include "load/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "core/error.h"

namespace coppice {
namespace {

[[noreturn]] void Fail(const std::filesystem::path& path, const std::string& reason) {
  ThrowBadInput({.what = "cannot read: " + reason, .where = Printable(path.string(), 500)});
}

std::string Reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void FailTemporary(const std::string& path, size_t size, int error) {
  ThrowEnvironment({.what = "no room for data that waits on disk",
                    .where = Printable(path, 500),
                    .expected = std::to_string(size) + " bytes",
                    .found = Reason(error),
                    .hint = "set TMPDIR to a folder with room, or raise --memory"});
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must fail below, not wait for its other end.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) Fail(path, Reason(errno));
  struct stat status = {};
  void* data = nullptr;
  int failed = ::fstat(descriptor, &status) != 0 ? errno : 0;
  const bool regular = S_ISREG(status.st_mode);
  const size_t size = static_cast<size_t>(status.st_size);
  if (failed == 0 && regular && size > 0) {  // a mapping of no bytes is an error to mmap()
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) failed = errno;
  }
  ::close(descriptor);  // the mapping does not need it
  if (failed == ENOMEM) {
    ThrowEnvironment({.what = "no address space to map it",
                      .where = Printable(path.string(), 500),
                      .found = Reason(failed)});
  }
  if (failed != 0) Fail(path, Reason(failed));
  if (!regular) Fail(path, "it is not a regular file");
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<std::byte*>(data), size));
}

std::shared_ptr<MappedFile> MappedFile::Temporary(size_t size) {
  std::error_code error;
  std::string path = (std::filesystem::temp_directory_path(error) / "coppice-XXXXXX").string();
  if (error) FailTemporary(path, size, error.value());
  const int descriptor = mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) FailTemporary(path, size, errno);
  ::unlink(path.c_str());
  int failed = size > 0 ? ::posix_fallocate(descriptor, 0, static_cast<off_t>(size)) : 0;
  void* data = nullptr;
  if (failed == 0 && size > 0) {
    data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) failed = errno;
  }
  ::close(descriptor);
  if (failed != 0) FailTemporary(path, size, failed);
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace coppice
