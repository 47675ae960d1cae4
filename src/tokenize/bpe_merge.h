// The heart of byte-pair encoding. A word starts as single symbols; as long as any two neighbours
// form a known pair, the pair of lowest rank is joined, the leftmost first. A queue holds the
// pairs, so that a word of n symbols takes O(n log n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace coppice {

inline constexpr int32_t kNoToken = -1;

// A symbol of a word in the making, in a list that keeps its places: a symbol that was joined to
// its left neighbour stays behind with the id kNoToken.
struct Symbol {
  int32_t id = kNoToken;
  uint32_t begin = 0;  // bytes of the word; no symbol is empty
  uint32_t end = 0;
  int32_t previous = kNoToken;  // places of the neighbours
  int32_t next = kNoToken;
};

// Appends a symbol to a word that nothing has been joined in yet.
void AppendSymbol(int32_t id, uint32_t begin, uint32_t end, std::vector<Symbol>& symbols);

struct Merge {
  int32_t rank = 0;
  int32_t id = 0;  // what the pair becomes
};

class MergeTable {
 public:
  void Reserve(size_t count) { merges_.reserve(count); }
  size_t size() const { return merges_.size(); }
  // Of two equal pairs the last counts.
  void Set(int32_t left, int32_t right, Merge merge);
  // Joins what can be joined.
  void Join(std::vector<Symbol>& symbols) const;

 private:
  struct PairHash {
    size_t operator()(uint64_t key) const {
      key *= 0x9E3779B97F4A7C15U;
      return key ^ (key >> 32);
    }
  };

  std::unordered_map<uint64_t, Merge, PairHash> merges_;  // by both ids
};

}  // namespace coppice
