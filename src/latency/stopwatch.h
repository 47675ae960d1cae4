// How long models take, end to end, on this machine: what a latency table is made of and what it is
// held against.
//
// Models take turns, round by round and in both directions, so that whatever else the machine does
// hits all alike; a turn that is short runs twice and counts the second time, as a program would
// that keeps running one model. Medians and their spread are what counts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/console.h"
#include "export/onnx_layers.h"
#include "model/network.h"

namespace coppice {

// Milliseconds of one model, over its turns.
struct Timing {
  double median = 0;
  double low = 0;   // 10th percentile
  double high = 0;  // 90th percentile
  int64_t repeats = 0;
  double spread() const { return (high - low) / median; }
};

Timing Summarize(std::vector<double> ms);

// How many rounds: `least`, then up to `most` while no more than `seconds` have passed.
struct Rounds {
  int64_t least = 5;
  int64_t most = 30;
  double seconds = 20;
};

// Runs once and says what it measured: milliseconds, of one or more stages.
using Turn = std::function<std::vector<double>()>;

// Of every turn, of every stage, the values of all rounds. A round more goes before, unseen.
std::vector<std::vector<std::vector<double>>> TakeTurns(const std::vector<Turn>& turns,
                                                        const Rounds& rounds, Progress* progress);

// What a latency is of.
struct LatencySetting {
  std::string runtime = "coppice";  // or "onnxruntime"
  int64_t batch = 1;
  int64_t tokens = 128;  // of every row; nothing is padded
  Compute compute = {};  // of coppice; ONNX Runtime runs float32 on the processor
  int threads = 1;
  OnnxStyle style = OnnxStyle::kFused;
};

// Times of whole models, in their order: an encoder's forward pass, a language model's reading of a
// prompt.
using Stopwatch = std::function<std::vector<Timing>(const std::vector<Model>& models)>;

// Throws Error: kUsage for an unknown runtime or a model that it does not run, kEnvironment where
// ONNX Runtime is not at hand.
Stopwatch MakeStopwatch(const LatencySetting& setting, const Rounds& rounds,
                        const Console& console);

// "coppice 0.1.0, torch 2.13.0" or "onnxruntime 1.23.2". Throws as MakeStopwatch() does.
std::string RuntimeVersion(const std::string& runtime);

}  // namespace coppice
