// The merges of a SentencePiece BPE vocabulary, which is stored as scores: two neighbours may be
// joined if their concatenation is a token, and the best-scored token comes first. (SentencePiece
// looks concatenations up as it goes; a table of all pairs that make a token gives the same
// tokens.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "tokenize/bpe_merge.h"
#include "tokenize/vocabulary.h"

namespace coppice {

// Longer tokens would take long to cut in two everywhere.
inline constexpr size_t kMaxScoredToken = 1024;

// `scores` has one entry an id, none of them NaN. `may_join` says whether merges form a token.
MergeTable MergesFromScores(const Vocabulary& vocabulary, std::span<const float> scores,
                            const std::function<bool(int32_t id)>& may_join);

}  // namespace coppice
