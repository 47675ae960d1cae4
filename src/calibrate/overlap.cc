#include "calibrate/overlap.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

namespace coppice {
namespace {

constexpr size_t kStretch = 32;
constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;

// Hashes of every stretch of a sample; of the whole where it is no longer than one.
std::vector<uint64_t> Hashes(const Sample& sample) {
  uint64_t leaving = 1;  // base to the power of the stretch
  for (size_t i = 0; i < kStretch; ++i) leaving *= kBase;
  std::vector<uint64_t> hashes;
  const std::vector<int32_t>& ids = sample.encoding.ids;
  uint64_t hash = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    hash = hash * kBase + static_cast<uint64_t>(ids[i]) + 1;
    if (i >= kStretch) hash -= (static_cast<uint64_t>(ids[i - kStretch]) + 1) * leaving;
    if (i + 1 >= kStretch) hashes.push_back(hash);
  }
  if (hashes.empty()) hashes.push_back(hash);
  return hashes;
}

}  // namespace

double SeenShare(const Samples& seen, const Samples& judged) {
  if (judged.samples.empty()) return 0;
  std::unordered_set<uint64_t> known;
  for (const Sample& sample : seen.samples) {
    for (const uint64_t hash : Hashes(sample)) known.insert(hash);
  }
  double count = 0;
  for (const Sample& sample : judged.samples) {
    const std::vector<uint64_t> hashes = Hashes(sample);
    count += std::any_of(hashes.begin(), hashes.end(),
                         [&](uint64_t hash) { return known.count(hash) > 0; });
  }
  return count / static_cast<double>(judged.samples.size());
}

}  // namespace coppice
