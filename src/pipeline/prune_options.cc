#include "pipeline/prune_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "export/forms.h"
#include "export/gguf.h"
#include "pipeline/select.h"

namespace coppice {
namespace {

// What leaves no choice of what another option says.
void CheckChoices(const PruneOptions& options) {
  if (options.uniform && !options.plan.empty()) {
    ThrowUsage(
        {.what = "a plan says what shape every layer gets", .hint = "drop --plan or --uniform"});
  }
  if (options.as_published && !options.plan.empty()) {
    ThrowUsage(
        {.what = "--as-published searches its own plans", .hint = "drop --plan or --as-published"});
  }
  if (options.as_published && (options.repair || options.uniform)) {
    ThrowUsage({.what = "--as-published leaves no choice of repair or shape",
                .hint = "drop --repair or --uniform"});
  }
}

}  // namespace

void CheckPruneOptions(const PruneOptions& options) {
  const Method& method = FindMethod(options.method);
  std::vector<double> shares = options.curve;
  if (options.keep) shares.push_back(*options.keep);
  for (const double share : shares) {
    if (share > 0 && share <= 1) continue;
    ThrowUsage({.what = "the share to keep is out of range",
                .expected = "above 0, at most 1",
                .found = fmt::format("{}", share)});
  }
  if (!options.keep && options.curve.empty() && options.plan.empty())
    ThrowUsage({.what = "a budget is missing", .expected = "a share to keep"});
  if (!options.curve.empty() && (options.method != "obs" || !options.plan.empty())) {
    ThrowUsage({.what = "a curve comes from the levels of the default method",
                .where = "--curve",
                .hint = "use --method obs without --plan"});
  }
  if (options.repair) ParseRepair(*options.repair);
  if (options.ridge && !(*options.ridge >= 0 && std::isfinite(*options.ridge))) {
    ThrowUsage({.what = "bad value", .where = "--ridge", .expected = "0 or more"});
  }
  if (options.samples && *options.samples < 1)
    ThrowUsage({.what = "bad value", .where = "--samples", .expected = "1 or more"});
  const bool unnamed = std::any_of(options.data.begin(), options.data.end(),
                                   [](const DataPart& part) { return part.file.empty(); });
  if (options.data.empty() || unnamed) {
    ThrowUsage({.what = "calibration examples are missing", .hint = "give them with --data FILE"});
  }
  if (options.as_published && !method.published) {
    ThrowUsage({.what = fmt::format("--as-published has no meaning for {}", options.method),
                .expected = "method fisher or numerical"});
  }
  if (options.as_published && options.budget == CostKind::kLatency && options.method != "fisher") {
    ThrowUsage({.what = "no published search of this method takes a latency",
                .expected = "method fisher, or no --as-published"});
  }
  for (const double share : options.measured.value_or(std::vector<double>{})) {
    if (share >= 0 && share < 1) continue;
    ThrowUsage({.what = "bad value",
                .where = "--measured",
                .expected = "shares from 0 to below 1",
                .found = fmt::format("{}", share)});
  }
  if (options.channel_multiple < 1)
    ThrowUsage({.what = "bad value", .where = "--channel-multiple", .expected = "1 or more"});
  if (options.memory && *options.memory < 0)
    ThrowUsage({.what = "bad value", .where = "--memory", .expected = "bytes, as in 8G"});
  CheckChoices(options);
  for (const std::string& form : options.forms) FindForm(form);
  ParseGgufType(options.gguf_type);
}

}  // namespace coppice
