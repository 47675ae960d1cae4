#include "load/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "core/error.h"

namespace coppice {
namespace {

[[noreturn]] void Fail(const std::filesystem::path& path, const std::string& reason) {
  ThrowBadInput({.what = "cannot read: " + reason, .where = Printable(path.string(), 500)});
}

std::string Reason(int error) { return std::generic_category().message(error); }

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
  if (failed != 0) Fail(path, Reason(failed));
  if (!regular) Fail(path, "it is not a regular file");
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace coppice
