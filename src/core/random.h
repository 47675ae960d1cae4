// Random numbers that are the same on every platform: the standard library's distributions are not.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace coppice {

// SplitMix64 (Steele et al. 2014): small, good enough to draw samples and labels, and cheap to
// seed, so that each sample can have its own stream.
class Random {
 public:
  // Different seeds, and different streams of a seed, are independent. The seed is mixed first: all
  // seeds walk one cycle, and those a step apart would draw the same numbers one place later.
  explicit Random(uint64_t seed, uint64_t stream = 0)
      : state_(Mix(seed) + stream * 0xD1B54A32D192ED03u) {
    Next();
  }

  uint64_t Next() { return Mix(state_ += 0x9E3779B97F4A7C15u); }
  // In [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  // In [0, n), n > 0. The bias of the remainder is below n / 2^64.
  int64_t Below(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }
  // Standard normal, by Box and Muller.
  double Normal() {
    const double radius = std::sqrt(-2.0 * std::log1p(-Uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * Uniform());
  }

 private:
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

// `count` indices below `population`: all different and in random order, or drawn with replacement.
inline std::vector<int64_t> DrawIndices(int64_t population, int64_t count, bool with_replacement,
                                        Random* random) {
  std::vector<int64_t> drawn;
  if (with_replacement) {
    for (int64_t i = 0; i < count; ++i) drawn.push_back(random->Below(population));
    return drawn;
  }
  for (int64_t i = 0; i < population; ++i) drawn.push_back(i);
  const int64_t kept = count < population ? count : population;
  for (int64_t i = 0; i < kept; ++i) {  // Fisher-Yates, only as far as needed
    std::swap(drawn[static_cast<size_t>(i)],
              drawn[static_cast<size_t>(i + random->Below(population - i))]);
  }
  drawn.resize(static_cast<size_t>(kept));
  return drawn;
}

}  // namespace coppice
