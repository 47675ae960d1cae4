#include "pipeline/narrow_heads.h"

#include <fmt/format.h>

#include "core/error.h"
#include "export/forms.h"

namespace coppice {
namespace {

// The first form that is written and holds whole heads only; empty where there is none.
std::string WholeHeadsForm(const Model& model, const PruneOptions& options) {
  for (const std::string& form : FormsOf(model, options)) {
    if (!FindForm(form).narrow_heads(model.spec)) return form;
  }
  return {};
}

}  // namespace

std::vector<std::string> FormsOf(const Model& model, const PruneOptions& options) {
  if (!options.forms.empty()) return options.forms;
  return {model.gguf ? "gguf" : "hf"};
}

HeadNarrowing Narrowing(const Model& model, const PruneOptions& options) {
  if (options.finer == "none" || options.method != "obs") return {};
  const auto no = [](std::string reason) { return HeadNarrowing{{}, std::move(reason)}; };
  const std::string form = WholeHeadsForm(model, options);
  if (!form.empty()) return no(fmt::format("the form {} holds whole heads only", form));
  if (options.uniform) return no("stock model classes hold whole heads only");
  if (options.budget == CostKind::kLatency)
    return no("the latency of narrower heads is not measured");
  return {{.values = options.finer != "keys", .keys = options.finer != "values"}, {}};
}

void RequireNarrowHeads(const Plan& plan, const Model& model, const PruneOptions& options) {
  if (!plan.narrows()) return;
  const std::string form = WholeHeadsForm(model, options);
  if (!form.empty()) {
    ThrowUsage({.what = "the plan narrows heads, which this form cannot hold",
                .where = "--to " + form,
                .found = options.plan.string(),
                .hint = "write hf, or make the plan with --finer none"});
  }
  if (options.method != "obs") {
    ThrowUsage({.what = "the plan narrows heads, which needs the default method's bases",
                .where = "--method " + options.method,
                .found = options.plan.string(),
                .hint = "use --method obs"});
  }
}

}  // namespace coppice
