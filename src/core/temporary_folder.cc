#include "core/temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/file.h"

namespace coppice {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "coppice-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    ThrowEnvironment({.what = "no temporary folder", .where = name, .found = std::strerror(errno)});
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() { RemoveTree(path_); }

}  // namespace coppice
