// Which units a method keeps: its scores, then its search.
#pragma once

#include <optional>
#include <string>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/cost.h"
#include "model/network.h"
#include "pipeline/prune.h"
#include "score/mask_gradients.h"
#include "search/unit_blocks.h"

namespace coppice {

// What a method does unless it is told otherwise.
struct Method {
  std::string name;
  Repair repair = Repair::kLeastSquares;
  Target target = Target::kDrift;
  bool published = false;  // whether --as-published has a meaning
};

const std::vector<Method>& Methods();

// Throws Error (kUsage) for an unknown name.
const Method& FindMethod(const std::string& name);

// Scores of every unit and, for the methods that look at gradients, the gradients.
struct Scored {
  std::vector<at::Tensor>
      gradients;                   // of each sub-layer, (rows, units); where the search wants them
  std::vector<at::Tensor> scores;  // of each sub-layer, (units) float64, higher is better
};

// A language model of text, not of image tokens.
bool IsText(const ModelSpec& spec);

// (I, D): a sub-layer's output projection, a row an input.
at::Tensor OutputProjection(const Model& model, size_t index);

// How a method's gradients are taken: labels, rows, batches.
MaskGradientOptions GradientOptions(const Network& dense, const Samples& samples,
                                    const PruneOptions& options);

// Sums of squares over the rows of a sub-layer's gradients: (units) float64 on the CPU.
at::Tensor FisherScores(const at::Tensor& rows);

// Throws Error (kBadInput) for a calibration loss that is not finite.
void CheckLoss(double loss, const PruneOptions& options);

Scored ScoreUnits(const Model& model, const Network& dense, const Samples& samples,
                  const PruneOptions& options, const Console& console, PruneReport* report);

// The plan under the budget. Warns where the published rules miss it.
Plan SearchPlan(const Model& model, const Scored& scored, const CostTable& costs,
                const PruneOptions& options, const Console& console, PruneReport* report);

// What a plan may cost for keeping this share.
int64_t BudgetLimit(const CostTable& costs, double keep);

// What the forms that are written ask of every plan, and what is fast of it.
SearchLimits LimitsOf(const ModelSpec& spec, const PruneOptions& options);

}  // namespace coppice
