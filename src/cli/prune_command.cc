#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "core/error.h"
#include "pipeline/prune.h"

namespace coppice {
namespace {

struct PruneCommand {
  PruneOptions prune;
  CommonOptions common;
  std::optional<double> keep_macs, keep_params, keep_latency;
  std::string scope = "blocks";
  std::vector<std::string> data;
};

void ResolveBudget(const PruneCommand& command, PruneOptions* options) {
  const int given = command.keep_macs.has_value() + command.keep_params.has_value() +
                    command.keep_latency.has_value();
  const bool chosen = !options->plan.empty() || !options->curve.empty();  // by other means
  if (given == 1 && !options->plan.empty()) {
    ThrowUsage({.what = "a plan says what stays",
                .where = "--plan " + options->plan.string(),
                .hint = "drop --plan, or the budget"});
  }
  if (given > 1 || (given == 0 && !chosen)) {
    ThrowUsage({.what = "exactly one budget is needed",
                .expected =
                    "--keep-macs R, --keep-params R or --keep-latency R; none with --curve or "
                    "--plan",
                .found = fmt::format("{} of them", given)});
  }
  options->budget = command.keep_latency  ? CostKind::kLatency
                    : command.keep_params ? CostKind::kParameters
                                          : CostKind::kMacs;
  options->keep = command.keep_latency  ? command.keep_latency
                  : command.keep_params ? command.keep_params
                                        : command.keep_macs;
  options->scope = command.scope == "model" ? CostScope::kModel : CostScope::kBlocks;
}

std::string Change(const std::string& name, const std::string& before, const std::string& after,
                   double ratio) {
  return fmt::format("{:<12} {:>10} -> {:>10}   ({:.3f})\n", name, before, after, ratio);
}

// Predicted losses of the shares that were asked for; where they lie says which budget to take.
std::string CurveLines(const PruneReport& report) {
  std::string text;
  for (const CurvePoint& point : report.curve) {
    text += fmt::format("keep {:<7.4g} predicted loss {:.5f} nats   {}\n", point.asked, point.loss,
                        (report.options.out / point.file).string());
  }
  return text;
}

void PrintReport(const PruneReport& report) {
  const auto ratio = [](int64_t after, int64_t before) {
    return static_cast<double>(after) / static_cast<double>(std::max<int64_t>(1, before));
  };
  const ModelSize& before = report.before;
  const ModelSize& after = report.after;
  if (report.plan.kept.empty()) return fmt::print("{}", CurveLines(report));
  std::string text =
      CurveLines(report) + Change("MACs", Count(before.macs_blocks), Count(after.macs_blocks),
                                  ratio(after.macs_blocks, before.macs_blocks));
  text += Change("parameters", Count(before.parameters), Count(after.parameters),
                 ratio(after.parameters, before.parameters));
  text += Change("size", Bytes(before.bytes), Bytes(after.bytes), ratio(after.bytes, before.bytes));
  if (report.latency) text += LatencyText(*report.latency);
  if (report.eval_before && report.eval_after) {
    text += Change(report.eval_before->name, fmt::format("{:.4f}", report.eval_before->value),
                   fmt::format("{:.4f}", report.eval_after->value),
                   report.eval_after->value / report.eval_before->value);
  }
  const StageSeconds& s = report.seconds;
  text += fmt::format(
      "seconds      {:.1f} (load {:.1f}, calibrate {:.1f}, score {:.1f}, search {:.1f}, tune "
      "{:.1f}, "
      "shrink {:.1f}, write {:.1f})\n",
      s.total, s.load, s.calibrate, s.score, s.search, s.tune, s.shrink, s.write);
  text += ProofLines(report.forms);
  text += fmt::format("written to   {}\n", report.options.out.string());
  fmt::print("{}", text);
}

// Options that one method alone reads, which another passes over.
void WarnOfUnread(const CLI::App& sub, const std::string& method, const Console& console) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> read = {
      {"obs", {"--allocation", "--align", "--damping", "--rounds", "--finer", "--measured"}},
      {"numerical", {"--lambda"}}};
  for (const auto& [reader, options] : read) {
    for (const std::string& option : options) {
      if (sub.count(option) > 0 && method != reader)
        console.Warn(fmt::format("{} means nothing to method {}", option, method));
    }
  }
}

void Run(PruneCommand command, const CLI::App& sub) {
  ResolveBudget(command, &command.prune);
  for (const std::string& part : command.data) command.prune.data.push_back(ParseDataPart(part));
  command.prune.device = command.common.device;
  command.prune.dtype = command.common.dtype;
  command.prune.threads = command.common.threads;
  const Console console(command.common.quiet);
  WarnOfUnread(sub, command.prune.method, console);
  const PruneReport report = Prune(command.prune, console);
  if (command.common.json) {
    PrintJson(ResultJson(report));
  } else {
    PrintReport(report);
  }
}

// What the pruned model may cost.
void AddBudget(CLI::App* sub, PruneCommand* command) {
  PruneOptions& o = command->prune;
  sub->add_option("--keep-macs", command->keep_macs, "share of the MACs that stays");
  sub->add_option("--keep-params", command->keep_params, "share of the parameters that stays");
  sub->add_option("--keep-latency", command->keep_latency,
                  "share of the whole model's measured time that stays");
  sub->add_option("--of", command->scope, "what the share is of: blocks or model")
      ->check(CLI::IsMember({"blocks", "model"}))
      ->capture_default_str();
  sub->add_option("--at-length", o.at_length,
                  "tokens at which MACs are counted (default: mean of the examples)")
      ->check(CLI::Range(1.0, 1e6));
  sub->add_option("--batch", o.latency.batch, "--keep-latency: rows that are read at once")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--tokens", o.latency.tokens, "--keep-latency: tokens of a row")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  sub->add_option("--runtime", o.latency.runtime,
                  "--keep-latency: where it counts, coppice or onnxruntime")
      ->check(CLI::IsMember({"coppice", "onnxruntime"}))
      ->capture_default_str();
  sub->add_option("--latency-table", o.latency.table,
                  "file that keeps the measured times (default: in the user's cache)");
  sub->add_flag("--remeasure", o.latency.remeasure, "measure those times anew");
}

// What it is calibrated and measured on.
void AddExamples(CLI::App* sub, PruneOptions* options) {
  PruneOptions& o = *options;
  sub->add_option("--samples", o.samples,
                  "examples drawn (default: 2048; language models 32 windows)");
  sub->add_option("--length", o.length,
                  "tokens an example at most (default: 128; question answering 384, "
                  "language models 1024)")
      ->check(CLI::Range(8, 1 << 20));
  AddSeedOption(sub, "of the draw", &o.seed);
  sub->add_option("--per-class", o.images.per_class, "--data self: images drawn of each class")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  sub->add_option("--null-share", o.images.null_share,
                  "images: share that is read without its class")
      ->capture_default_str();
  AddSamplingOptions(sub, &o.images.sampling);
  sub->add_option("--eval", o.eval, "measure before and after on this file");
}

// How units are chosen.
void AddSearch(CLI::App* sub, PruneOptions* options) {
  PruneOptions& o = *options;
  sub->add_option("--method", o.method, "obs, fisher, numerical, flap, wanda or magnitude")
      ->capture_default_str();
  sub->add_flag("--as-published", o.as_published, "exactly the paper's procedure, repairs off");
  sub->add_flag("--uniform", o.uniform, "the same shape in every layer, for stock model classes");
  sub->add_option("--labels", o.labels,
                  "of the gradients: data, model (drawn), probe, or auto: obs probe, else data "
                  "where there are labels, else model")
      ->check(CLI::IsMember({"auto", "data", "model", "probe"}))
      ->capture_default_str();
  sub->add_option("--row-tokens", o.row_tokens,
                  "fisher: tokens of a text whose gradients are summed; 0: all (default: all; "
                  "language models 64)")
      ->check(CLI::Range(0, 1 << 20));
  sub->add_option("--lambda", o.lambda,
                  "numerical: weight of the sum of scores (default: a constraint)")
      ->check(CLI::Range(0.0, 1e300));
  sub->add_option("--channel-multiple", o.channel_multiple,
                  "channels of a language model's layer are a multiple of this")
      ->capture_default_str();
  sub->add_flag("--rearrange", o.rearrange, "exchange units inside layers after the search");
  sub->add_option(
      "--plan", o.plan,
      "apply the plan of a coppice.json, or one that --curve wrote, instead of searching");
}

// What the default method alone knows.
void AddObs(CLI::App* sub, PruneOptions* options) {
  PruneOptions& o = *options;
  sub->add_option("--allocation", o.allocation,
                  "obs: how widths are chosen: levels, fisher (its counts), fisher-units (and its "
                  "units), or best of the first two and, for a latency, of levels by MACs")
      ->check(CLI::IsMember({"best", "levels", "fisher", "fisher-units"}))
      ->capture_default_str();
  sub->add_option("--align", o.align, "obs: align what sub-layers read: yes, no, or best of both")
      ->check(CLI::IsMember({"best", "yes", "no"}))
      ->capture_default_str();
  sub->add_option("--curve", o.curve,
                  "obs: also write the plans and predicted losses of these shares; they alone "
                  "without a budget")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--damping", o.damping,
                  "obs: of the sweeps over units, times the mean diagonal of their second moments "
                  "(default: 0.01; language models on one text 0.3)")
      ->check(CLI::Range(1e-6, 1e3));
  sub->add_option("--rounds", o.rounds, "obs: how often losses are measured again around the plan")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  sub->add_option("--finer", o.finer,
                  "obs: what is narrowed inside heads: none, values, keys (with queries), or all")
      ->check(CLI::IsMember({"none", "values", "keys", "all"}))
      ->capture_default_str();
  sub->add_option("--measured", o.measured,
                  "obs: shares of a sub-layer at which its loss is measured; 0: its absence alone; "
                  "no value: "
                  "nothing (default: 0.33, 0.67; images 0.5)")
      ->delimiter(',')
      ->expected(0, 8);
}

// How what stays is repaired.
void AddRepair(CLI::App* sub, PruneOptions* options) {
  PruneOptions& o = *options;
  sub->add_option("--repair", o.repair,
                  "none, bias, scales or least-squares (default: the method's own)");
  sub->add_option("--ridge", o.ridge,
                  "damping of the repair, times the mean diagonal (default: 0.03; language models "
                  "0.3)");
  sub->add_option(
         "--inner-steps", o.inner_steps,
         "Gauss-Newton steps on the matrices that feed-forward layers read with, each with "
         "another refit (default: obs on a GPU 2, of language models 1; else 0)")
      ->check(CLI::Range(0, 100));
  sub->add_option("--target", o.target,
                  "what the repair fits: drift, own or dense (default: the method's own)");
}

// What is written, and in how much memory.
void AddForms(CLI::App* sub, PruneOptions* options) {
  PruneOptions& o = *options;
  sub->add_option("--to", o.forms, "forms to write: hf, gguf, onnx (default: the input's own)")
      ->delimiter(',');
  sub->add_flag("--plain", o.plain, "ONNX of standard operators, without com.microsoft's");
  sub->add_option("--gguf-type", o.gguf_type, "of a GGUF file's matrices: f16, f32, bf16 or q8_0")
      ->capture_default_str();
  sub->add_option("--vocabulary", o.vocabulary,
                  "GGUF file whose vocabulary a GGUF file gets (default: the model's own)");
  sub->add_option(
         "--memory", o.memory,
         "bytes (as in 8G) that matrices, calibration streams and pruned matrices may each "
         "take before they wait in files (default: a quarter of the machine's)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
}

}  // namespace

void AddPrune(CLI::App* app, Action* action) {
  auto command = std::make_shared<PruneCommand>();
  PruneOptions& o = command->prune;
  CLI::App* sub = app->add_subcommand(
      "prune", "Make a model smaller: choose units, repair what stays, cut, write");
  sub->add_option("MODEL", o.model, "Hugging Face folder or GGUF file")->required();
  sub->add_option("--data", command->data,
                  "calibration examples: .jsonl or .txt, also .gz; image tokens: .safetensors; "
                  "self: drawn from the model; several with weights: --data A=0.5 --data B=0.5");
  sub->add_option("--out", o.out, "folder for the pruned model")->required();
  sub->add_flag("--force", o.replace, "replace an output folder that is in use");
  AddBudget(sub, command.get());
  AddExamples(sub, &o);
  AddSearch(sub, &o);
  AddObs(sub, &o);
  AddRepair(sub, &o);
  AddForms(sub, &o);
  AddCommonOptions(sub, &command->common);
  sub->callback([command, action, sub] { *action = [command, sub] { Run(*command, *sub); }; });
}

}  // namespace coppice
