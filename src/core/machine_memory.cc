#include "core/machine_memory.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace coppice {

namespace {

// The least limit of a control group and those above it, or `bytes`. A file without a number has no
// limit; in a container the group's own path may be missing, and the root is the container's.
int64_t LeastLimit(const std::filesystem::path& root, const std::string& group, const char* file,
                   int64_t bytes) {
  for (std::filesystem::path at = std::filesystem::path(group).relative_path();;
       at = at.parent_path()) {
    int64_t limit = 0;
    if (std::ifstream(root / at / file) >> limit && limit > 0) bytes = std::min(bytes, limit);
    if (at.empty()) return bytes;
  }
}

}  // namespace

int64_t MachineMemoryBytes() {
  int64_t bytes = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  bytes = LeastLimit("/sys/fs/cgroup", "", "memory.max", bytes);
  bytes = LeastLimit("/sys/fs/cgroup/memory", "", "memory.limit_in_bytes", bytes);
  std::ifstream groups("/proc/self/cgroup");  // lines of number:controllers:path
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) bytes = LeastLimit("/sys/fs/cgroup", path, "memory.max", bytes);
    if (controllers == "memory")
      bytes = LeastLimit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", bytes);
  }
  return bytes;
}

int64_t UsualMemoryBytes() { return MachineMemoryBytes() / 4; }

void KeepSmallBlocks() {
#if defined(M_TRIM_THRESHOLD)
  mallopt(M_MMAP_THRESHOLD, kKeptBlockBytes);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

}  // namespace coppice
