#include "core/temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "core/interrupt.h"

namespace coppice {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "coppice-XXXXXX").string();
  InterruptHold hold;
  if (::mkdtemp(name.data()) == nullptr)
    ThrowEnvironment({.what = "no temporary folder", .where = name, .found = std::strerror(errno)});
  path_ = name;
  hold.Add(path_);
}

TemporaryFolder::~TemporaryFolder() {
  RemoveTree(path_);
  InterruptHold().Drop(path_);
}

}  // namespace coppice
