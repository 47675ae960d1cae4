// The main job, end to end: load, calibrate, score, search, tune, shrink, write, report.
//
// Everything comes in by PruneOptions and goes out by PruneReport and the output folder; nothing is
// printed on stdout here. This is also the library's front door.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/console.h"
#include "core/plan.h"
#include "eval/evaluate.h"
#include "model/cost.h"
#include "pipeline/calibration_data.h"
#include "pipeline/image_data.h"
#include "pipeline/latency_budget.h"
#include "pipeline/proof.h"
#include "score/loss.h"
#include "tune/tune.h"

namespace coppice {

// What a user asks for; the defaults are those of the command line.
struct PruneOptions {
  std::filesystem::path model;
  std::vector<DataPart> data;  // calibration examples, or kSelf
  std::filesystem::path out;
  bool replace = false;  // --force
  CostKind budget = CostKind::kMacs;
  CostScope scope = CostScope::kBlocks;
  std::optional<double> keep;  // share that stays, in (0, 1]; not needed with a curve or a plan
  LatencyOptions latency;      // of CostKind::kLatency
  std::optional<double>
      at_length;  // tokens at which MACs are counted; the calibration mean without it
  std::string method = "obs";
  bool as_published = false;
  bool uniform = false;
  std::optional<int64_t> samples;  // 2048, language models 32, without it
  ImageCalibrationOptions images;  // models of images; data, count and seed are those of this run
  int64_t length = 0;  // tokens a sample; 0: 128, question answering 384, language models 1024
  uint64_t seed = 0;
  std::optional<std::string> repair;  // the method's own without it
  std::optional<std::string> target;  // of the repair: drift, own or dense (tune/tune.h)
  std::optional<double> ridge;        // of the repair, times the mean diagonal of its matrix; 0.03,
                                      // language models 0.3, without it
  std::optional<int64_t> inner_steps;  // of the repair (tune/tune.h); the method's own without it
  std::optional<double> lambda;        // numerical: weight of the sum; a constraint without it
  std::optional<int64_t> row_tokens;   // fisher: tokens of a sample that make a row, 0 for all; 64
                                       // in language models without it
  int64_t channel_multiple = 32;       // of channels in a decoder's layer
  std::string allocation = "best";     // obs: "levels", "fisher", or the better of both
  std::string labels = "auto";         // of gradients: "data", "model", "probe"
  std::string align = "yes";      // obs: align what sub-layers read: "yes", "no", or the better
  std::optional<double> damping;  // obs: of the sweeps, times the mean diagonal of the second
                                  // moments; 0.01, language models on one text 0.3, without it
  int64_t rounds = 0;  // obs: how often losses are measured again around the plan, which then
                       // competes with those before it
  std::vector<double> curve;  // obs: further shares whose plans and predicted losses are written;
                              // without `keep` they alone are
  std::string finer =
      "none";  // obs: what is narrowed inside heads: "none", "values", "keys", "all"
  // obs: shares of a sub-layer's units at which its loss is measured; without a choice a third and
  // two thirds, of image models half
  std::optional<std::vector<double>> measured;
  bool rearrange =
      false;  // exchange units inside layers after the search; always with as_published
  std::filesystem::path eval;      // empty: no evaluation
  std::filesystem::path plan;      // empty: search
  std::vector<std::string> forms;  // "hf", "gguf", "onnx"; the input's own if empty
  std::string gguf_type = "f16";   // of the matrices in a GGUF file
  bool plain = false;              // ONNX: standard operators only
  std::filesystem::path
      vocabulary;  // GGUF file to take the vocabulary from; empty: the model's own
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;
  // Bytes that the model's matrices may take, or the calibration streams, or the pruned matrices:
  // more of one kind streams from its file, or waits in one. A quarter of the machine's without it.
  std::optional<int64_t> memory;
};

// Seconds of each stage.
struct StageSeconds {
  double load = 0, calibrate = 0, score = 0, search = 0, tune = 0, shrink = 0, write = 0, total = 0;
};

// One way to prune that was tried, and how far its outputs are from the dense model's on held-out
// samples.
struct Trial {
  std::string plan;    // how the widths were chosen
  std::string target;  // of the repair
  bool align = false;
  double predicted = 0;  // loss of the plan by its curves, nats
  Divergence divergence;
  bool chosen = false;
};

// A share of the cost that may be kept, and the plan that the curves give it.
struct CurvePoint {
  double asked = 0, got = 0;
  double loss = 0;  // predicted, nats
  Plan plan;
  std::string file;  // in the output folder
};

struct PruneReport {
  PruneOptions options;
  double tokens = 0;  // length at which MACs are counted
  double kept = 0;    // share of the budget's cost that the plan has
  ModelSize before, after;
  StageSeconds seconds;
  Plan plan;
  std::vector<std::string> sub_layers;  // output projection of each
  std::vector<int64_t> units;           // of each, before
  std::vector<TuneRecord> repairs;
  std::vector<Trial> trials;
  std::vector<CurvePoint> curve;
  std::optional<Divergence> held_out_divergence;  // of the pruned model
  int64_t held_out = 0;                           // samples that choices are made by
  bool images = false;                            // a model of images
  int64_t samples = 0, calibration_tokens = 0, swaps = 0;
  LabelSource labels = LabelSource::kData;  // of gradients
  double calibration_loss = 0;
  double ridge = 0;                        // that the repair used
  double kept_score = 0, total_score = 0;  // sums of the search's scores
  std::vector<FormProof> forms;            // that were written
  std::optional<LatencyBudget> latency;    // of CostKind::kLatency
  std::optional<Metric> eval_before, eval_after;
  int64_t peak_memory_bytes = 0, peak_device_bytes = 0;
  std::string device, dtype, data_sha256, model_sha256;
};

// Throws Error; leaves nothing behind when it does.
PruneReport Prune(const PruneOptions& options, const Console& console);

// The machine-readable result on stdout (--json).
nlohmann::ordered_json ResultJson(const PruneReport& report);

// The record written into the folder as coppice.json: plan, scores' summary, budget, options,
// versions.
nlohmann::ordered_json RecordJson(const PruneReport& report);

}  // namespace coppice
