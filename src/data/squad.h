// Question answering in SQuAD's form: windows over long contexts, answers from start and end
// logits, and the official exact match and F1 (Rajpurkar et al. 2016, evaluate-v1.1/v2.0).
//
// A window is [question][context part]; parts overlap by kSquadStride tokens. The answer of a
// question is the best-scoring span over all its windows. Nothing here knows tensors: logits come
// in as spans of floats.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "tokenize/tokenizer.h"

namespace coppice {

inline constexpr size_t kSquadLength = 384;         // tokens a window at most
inline constexpr size_t kSquadStride = 128;         // overlap of neighbouring windows, tokens
inline constexpr size_t kSquadQuestionLength = 64;  // tokens kept of a question that is too long
inline constexpr int64_t kSquadAnswerLength = 30;   // tokens of an answer at most
inline constexpr int64_t kSquadBest = 20;           // start and end candidates a window

// One window of one example.
struct SquadWindow {
  int64_t example = 0;     // index into the dataset
  Encoding encoding = {};  // as the model reads it
  // Byte range of the context a token covers; {0, 0} outside the context (question, special
  // tokens). (T)
  std::vector<std::pair<uint32_t, uint32_t>> context_bytes = {};
  // Token positions of the first gold answer for training-like losses; {0, 0} (the first token) if
  // it is not wholly in this window.
  int64_t start = 0;
  int64_t end = 0;
};

// All windows of all examples, in order. Leading white space of a question is dropped, as the
// reference preprocessing does. `max_length` <= kSquadLength tokens a window. Questions are kept
// whole while a window has room for more than kSquadStride tokens of the context, which is all the
// reference allows; past that the question is cut to kSquadQuestionLength and to half a window, and
// parts overlap by half at most. Throws Error: kBadInput for an example that is no question, kUsage
// for a max_length without room for both.
std::vector<SquadWindow> MakeSquadWindows(const Tokenizer& tokenizer, const Dataset& dataset,
                                          size_t max_length);

// A predicted span of one window: bytes of the context, score = start logit + end logit.
struct SquadAnswer {
  std::string text = {};
  double score = 0;
};

// Collects window logits of a dataset and answers every question.
class SquadAnswers {
 public:
  explicit SquadAnswers(const Dataset& dataset);
  // Adds one window's logits (T each, the window's own tokens, no padding).
  void Add(const SquadWindow& window, std::span<const float> start_logits,
           std::span<const float> end_logits);
  // The answer of each example, in order. Where the data has questions without answer, "" wins when
  // the no-answer score (first token) exceeds the best span's. A question without any valid span
  // answers "" too.
  std::vector<std::string> Best() const;

 private:
  // Scores are sums in float, as the reference computes them: rounding decides between near ties.
  struct State {
    SquadAnswer best = {};
    bool found = false;
    float start_logit = 0;  // of the best span
    float end_logit = 0;
    float null_score = std::numeric_limits<float>::infinity();  // lowest over the windows
  };
  const Dataset& dataset_;
  bool has_unanswerable_ = false;
  std::vector<State> states_;
};

struct SquadScore {
  double exact_match = 0;  // fraction, 0..1
  double f1 = 0;           // fraction, 0..1
};

// True if a question has no answer: the data is then scored by the rules of SQuAD 2.0, else by
// those of 1.1.
bool HasUnanswerable(const Dataset& dataset);

// The official metrics, maximum over the gold answers, mean over questions.
SquadScore ScoreSquad(const Dataset& dataset, std::span<const std::string> predictions);

// The official normalisation: lower case, no punctuation, no articles, single spaces.
std::string NormalizeAnswer(std::string_view text);

}  // namespace coppice
