// Repair of what stays, sub-layer by sub-layer, against the dense model: methods in repair.h.
//
// Two residual streams run side by side over the calibration samples: the teacher's h_T and the
// student's h_S, the student being the shrunk model repaired so far. For each sub-layer in order,
// with X the student's unit inputs and f the teacher's sub-layer, the projection is refitted to
// explain
//
//     R = f(h_T) + h_T - h_S - (X W + b)
//
// (Target::kDrift), so that it also makes up for the drift h_T - h_S of the layers before it (Kwon
// et al. 2022, section 4.4, with scales; all weights here). Target has the others. Padding takes no
// part.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/residual_stream.h"
#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"
#include "tune/repair.h"

namespace coppice {

// What a sub-layer is fitted to; f is the dense sub-layer, g the student's.
enum class Target {
  kDrift,  // f(h_T) + h_T - h_S - g(h_S): makes up for the layers before as well
  kOwn,    // f(h_S) - g(h_S): what the dense sub-layer would make of the student's stream
  kDense,  // f(h_T) - g(h_T): each sub-layer by itself, on the dense stream
};

struct TuneOptions {
  Repair repair = Repair::kLeastSquares;
  Target target = Target::kDrift;
  double ridge = 3e-2;  // times the mean diagonal of the Gram matrix
  double tokens_per_input =
      8;  // below this many tokens an input, least squares gives way to scales
  int64_t batch_tokens = 1024;
  int64_t stream_bytes = kStreamBytes;  // of both streams in memory; beyond it they go to disk
  bool published = false;               // the paper's procedure: see published_tuning.h
};

Target ParseTarget(const std::string& name);  // "drift", "own", "dense"; throws Error (kUsage)

// What happened to one sub-layer.
struct TuneRecord {
  std::string output;  // the projection's name
  Repair repair = Repair::kNone;
  double explained = 0;  // share of the residual's energy that the repair takes away
  double damping = 0;
  std::string note;  // why it is not the repair that was asked for; empty if it is
};

// New projections, by tensor name, float32; and the record.
struct TuneResult {
  std::map<std::string, at::Tensor> tensors;
  std::vector<TuneRecord> records;
};

// teacher: the model whose behaviour is wanted. student: the shrunk model. Both of one family, with
// the same layers.
TuneResult Tune(const Network& teacher, const Model& student, const Samples& samples,
                const TuneOptions& options, const Console& console);

// The model with the repaired projections, each in the dtype that the tensor had.
Model WithTensors(const Model& model, const std::map<std::string, at::Tensor>& tensors);

}  // namespace coppice
