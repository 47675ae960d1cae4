// Repair of what stays, sub-layer by sub-layer, against the dense model: methods in repair.h.
//
// Two residual streams run side by side over the calibration samples (streams.h): the teacher's h_T
// and the student's h_S, the student being the shrunk model repaired so far. For each sub-layer in
// order, with X the student's unit inputs and f the teacher's sub-layer, the projection is refitted
// to explain
//
//     R = f(h_T) + h_T - h_S - (X W + b)
//
// (Target::kDrift), so that it also makes up for the drift h_T - h_S of the layers before it (Kwon
// et al. 2022, section 4.4, with scales; all weights here). Target has the others. Before that, the
// matrices that read h_S may be aligned with what they would read of h_T (align.h). Padding takes
// no part.
//
// Where the teacher's matrices stream (model/network.h), so do the student's, and the tensors that
// are made wait in files beyond the teacher's compute.memory.
//
// With held-out samples, each ridge is chosen by the share of the residual that the fit explains on
// them, and a fit that explains nothing there is left out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/console.h"
#include "tune/repair.h"
#include "tune/streams.h"

namespace coppice {

struct TuneOptions {
  Repair repair = Repair::kLeastSquares;
  Target target = Target::kDrift;  // least squares: where tokens are few and samples are held out,
                                   // kOwn where that explains more of the drift's residual there
  double ridge = 3e-2;  // times the mean diagonal of the Gram matrix; with held-out samples, where
                        // the choice starts
  bool align = false;   // align what sub-layers read, too
  // Least squares: Gauss-Newton steps at most on the matrices that feed-forward sub-layers read
  // with, each followed by another refit (gauss_newton.h). None where a sub-layer of the teacher
  // has more than 8192 pre-activations (two a gated channel).
  int64_t inner_steps = 0;
  double tokens_per_input = 8;  // fewer tokens an input are few; without held-out samples least
                                // squares then gives way to scales
  int64_t batch_tokens = 0;     // 0: as many as usual
  bool published = false;       // the paper's procedure: see published_tuning.h
  // Published: the model before its teacher was pruned. Its feed-forward sub-layers are what the
  // student's are fitted to, on the teacher's stream.
  const Network* unpruned = nullptr;
  // Steps once a sub-layer; none: a stage of its own. For repairs side by side.
  Progress* progress = nullptr;
};

Target ParseTarget(const std::string& name);  // "drift", "own", "dense"; throws Error (kUsage)
std::string TargetName(Target target);

// What happened to one sub-layer.
struct TuneRecord {
  std::string output;  // the projection's name
  Repair repair = Repair::kNone;
  Target target = Target::kDrift;
  double explained = 0;  // share of the residual's energy that the repair takes away
  double damping = 0;
  std::optional<double> held_out;  // explained, on the held-out samples
  std::optional<double> inner;     // share of what the first fit left on them that inner steps,
                                   // with their refits, took away
  std::optional<double> aligned;   // share of z_T - z_S that the alignment takes away there
  std::optional<double> aligned_damping;  // the alignment's
  std::string note;  // why it is not the repair that was asked for; empty if it is
};

// New tensors by name, on the networks' device or in a file, each in the dtype that it had (float32
// where it is new); the record; and how far the repaired model's outputs are from the teacher's on
// the held-out samples (kDense gives none).
struct TuneResult {
  std::map<std::string, at::Tensor> tensors;
  std::vector<TuneRecord> records;
  std::optional<Divergence> held_out;
};

// teacher: the model whose behaviour is wanted. student: the shrunk model. Both of one family, with
// the same layers.
TuneResult Tune(const Network& teacher, const Model& student, const FitSamples& samples,
                const TuneOptions& options, const Console& console);

// The model with the repaired tensors, each on the CPU in the dtype that it had.
Model WithTensors(const Model& model, const std::map<std::string, at::Tensor>& tensors);

}  // namespace coppice
