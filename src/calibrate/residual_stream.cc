#include "calibrate/residual_stream.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "core/error.h"

namespace coppice {
namespace {

// A float32 tensor in a file that has no name any more.
at::Tensor FileTensor(at::IntArrayRef sizes) {
  std::string path = (std::filesystem::temp_directory_path() / "coppice-XXXXXX").string();
  const int file = mkstemp(path.data());
  if (file < 0) {
    ThrowEnvironment({.what = "no file for activations could be made",
                      .where = path,
                      .found = std::strerror(errno),
                      .hint = "set TMPDIR to a folder with room"});
  }
  const int64_t numbers = c10::multiply_integers(sizes);
  // Space is taken now: a full disk must not kill the process later, when a page is written.
  const int failed = posix_fallocate(file, 0, numbers * static_cast<int64_t>(sizeof(float)));
  close(file);
  if (failed != 0) {
    unlink(path.c_str());
    ThrowEnvironment({.what = "no room for activations",
                      .where = path,
                      .expected = std::to_string(numbers * 4) + " bytes",
                      .found = std::strerror(failed),
                      .hint = "set TMPDIR to a folder with room"});
  }
  at::Tensor tensor = at::from_file(path, /*shared=*/true, numbers, at::kFloat).view(sizes);
  unlink(path.c_str());
  return tensor;
}

}  // namespace

ResidualStream::ResidualStream(const at::Tensor& hidden, bool on_disk) : device_(hidden.device()) {
  if (on_disk) file_ = FileTensor(hidden.sizes());
  Set(hidden);
}

void ResidualStream::Set(const at::Tensor& hidden) {
  if (file_.defined()) {
    file_.copy_(hidden);
  } else {
    hidden_ = hidden;
  }
}

}  // namespace coppice
