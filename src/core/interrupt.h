// Ctrl-C and its like: what is half written is removed before the program ends.
#pragma once

#include <filesystem>
#include <mutex>

namespace coppice {

// Held while a temporary file or folder is made, gets its final name or is forgotten: an interrupt
// comes before or after, never in between. Once one has come nobody gets a hold any more, so that
// nothing new is made beside the removal, and no error is reported of what it took away. The list
// of temporary paths is the process's; a thread may have one hold at a time.
class InterruptHold {
 public:
  InterruptHold();

  // From now on an interrupt removes the file, or the folder and all in it.
  void Add(const std::filesystem::path& path);
  // The same of a folder that is removed only while it is empty.
  void AddWhileEmpty(const std::filesystem::path& path);
  void Drop(const std::filesystem::path& path);

  // Removes what is in the list, the newest first, and empties it.
  void RemoveAll();

 private:
  std::unique_lock<std::mutex> lock_;
};

// From now on SIGINT, SIGTERM and SIGHUP, but for those that are ignored, remove what is in the
// list before they end the program as they always do. A second one ends it at once. For main().
void RemoveTemporariesOnInterrupt();

}  // namespace coppice
