#include "tokenize/bpe_merge.h"

#include <queue>

namespace coppice {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

// A pair that can be joined, unless one of its symbols has changed since: then it does not end
// where it did, or its left symbol is gone.
struct Candidate {
  Merge merge;
  int32_t left = 0;  // place of the left symbol
  uint32_t end = 0;
  bool operator>(const Candidate& other) const {
    return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : left > other.left;
  }
};

}  // namespace

void AppendSymbol(int32_t id, uint32_t begin, uint32_t end, std::vector<Symbol>& symbols) {
  const auto place = static_cast<int32_t>(symbols.size());
  if (place > 0) symbols.back().next = place;
  symbols.push_back({.id = id, .begin = begin, .end = end, .previous = place - 1});
}

void MergeTable::Set(int32_t left, int32_t right, Merge merge) {
  merges_[PairKey(left, right)] = merge;
}

void MergeTable::Join(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto push = [&](int32_t place) {
    if (place == kNoToken) return;
    const Symbol& left = symbols[static_cast<size_t>(place)];
    if (left.next == kNoToken) return;
    const Symbol& right = symbols[static_cast<size_t>(left.next)];
    const auto merge = merges_.find(PairKey(left.id, right.id));
    if (merge == merges_.end()) return;
    queue.push({.merge = merge->second, .left = place, .end = right.end});
  };
  for (size_t i = 0; i < symbols.size(); ++i) push(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.id == kNoToken || left.next == kNoToken) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (right.end != best.end) continue;
    left.id = best.merge.id;
    left.end = right.end;
    left.next = right.next;
    right.id = kNoToken;
    if (left.next != kNoToken) symbols[static_cast<size_t>(left.next)].previous = best.left;
    push(left.previous);
    push(best.left);
  }
}

}  // namespace coppice
