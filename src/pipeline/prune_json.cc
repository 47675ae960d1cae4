// The two JSON forms of a PruneReport; their keys are part of the contract with scripts.
#include <torch/version.h>

#include "core/version.h"
#include "pipeline/prune.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

std::string KindName(CostKind kind) {
  return kind == CostKind::kMacs ? "macs" : kind == CostKind::kParameters ? "params" : "latency";
}

Json BudgetJson(const PruneReport& report) {
  const bool blocks = report.options.scope == CostScope::kBlocks && !report.latency;
  return {{"kind", KindName(report.options.budget)},
          {"of", blocks ? "blocks" : "model"},
          {"at_length", report.tokens},
          {"asked", report.options.keep ? Json(*report.options.keep) : Json()},
          {"got", report.plan.kept.empty() ? Json() : Json(report.kept)}};
}

Json SecondsJson(const StageSeconds& s, bool with_total) {
  Json json = {{"load", s.load},     {"calibrate", s.calibrate}, {"score", s.score},
               {"search", s.search}, {"tune", s.tune},           {"shrink", s.shrink},
               {"write", s.write}};
  if (with_total) json["total"] = s.total;
  return json;
}

Json SubLayersJson(const PruneReport& report) {
  Json list = Json::array();
  if (report.plan.kept.empty()) return list;
  for (size_t i = 0; i < report.sub_layers.size(); ++i) {
    Json entry = {{"output", report.sub_layers[i]},
                  {"units", report.units[i]},
                  {"kept", report.plan.kept[i].size()}};
    const HeadShape shape = report.plan.shape(i);
    if (shape.values > 0) entry["values"] = shape.values;
    if (shape.keys > 0) entry["keys"] = shape.keys;
    if (i < report.repairs.size()) {
      const TuneRecord& record = report.repairs[i];
      entry["repair"] = RepairName(record.repair);
      entry["target"] = TargetName(record.target);
      entry["explained"] = record.explained;
      entry["damping"] = record.damping;
      if (record.held_out) entry["held_out"] = *record.held_out;
      if (record.inner) entry["inner"] = *record.inner;
      if (record.aligned) entry["aligned"] = *record.aligned;
      if (record.aligned_damping) entry["aligned_damping"] = *record.aligned_damping;
      if (!record.note.empty()) entry["note"] = record.note;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json TrialsJson(const PruneReport& report) {
  Json list = Json::array();
  for (const Trial& trial : report.trials) {
    list.push_back({{"widths", trial.plan},
                    {"target", trial.target},
                    {"align", trial.align},
                    {"predicted", trial.predicted},
                    {"held_out_divergence", trial.divergence.mean()},
                    {"chosen", trial.chosen}});
  }
  return list;
}

Json CurveJson(const PruneReport& report) {
  Json list = Json::array();
  for (const CurvePoint& point : report.curve) {
    list.push_back({{"asked", point.asked},
                    {"got", point.got},
                    {"predicted", point.loss},
                    {"plan", point.file}});
  }
  return list;
}

}  // namespace

Json ResultJson(const PruneReport& report) {
  const bool pruned = !report.plan.kept.empty();  // or plans of a curve alone were written
  const auto change = [&](int64_t before, int64_t after) -> Json {
    return {{"before", before}, {"after", pruned ? Json(after) : Json()}};
  };
  Json json = {{"out", report.options.out.string()},
               {"method", report.options.method},
               {"as_published", report.options.as_published},
               {"seed", report.options.seed},
               {"budget", BudgetJson(report)},
               {"params", change(report.before.parameters, report.after.parameters)},
               {"macs", change(report.before.macs_blocks, report.after.macs_blocks)},
               {"bytes", change(report.before.bytes, report.after.bytes)},
               {"seconds", SecondsJson(report.seconds, true)},
               {"trials", TrialsJson(report)},
               {"held_out_divergence",
                report.held_out_divergence ? Json(report.held_out_divergence->mean()) : Json()},
               {"curve", CurveJson(report)},
               {"forms", ProofsJson(report.forms)},
               {"peak_memory_bytes", report.peak_memory_bytes},
               {"device", report.device},
               {"dtype", report.dtype}};
  if (report.peak_device_bytes > 0) json["peak_device_bytes"] = report.peak_device_bytes;
  if (report.latency) json["latency"] = LatencyJson(*report.latency);
  if (report.eval_before && report.eval_after) {
    json["eval"] = {{"metric", report.eval_before->name},
                    {"before", report.eval_before->value},
                    {"after", report.eval_after->value}};
    if (report.eval_before->exact_match) {
      json["eval"]["exact_match"] = {{"before", *report.eval_before->exact_match},
                                     {"after", *report.eval_after->exact_match}};
    }
  }
  return json;
}

// How calibration images were drawn; null where they came from a file.
Json DrawnImagesJson(const PruneOptions& options) {
  if (options.data.size() != 1 || options.data[0].file != kSelf) return nullptr;
  const ImageCalibrationOptions& images = options.images;
  return {{"per_class", images.per_class},
          {"null_share", images.null_share},
          {"guidance", images.sampling.guidance},
          {"temperature", images.sampling.temperature},
          {"top_k", images.sampling.top_k}};
}

Json RecordJson(const PruneReport& report) {
  Json json = {{"coppice", kVersion},
               {"torch", TORCH_VERSION},
               {"plan", PlanToJson(report.plan)},
               {"sub_layers", SubLayersJson(report)},
               {"scores",
                {{"kept", report.kept_score},
                 {"total", report.total_score},
                 {"swaps", report.swaps},
                 {"calibration_loss", report.calibration_loss},
                 {"labels", LabelSourceName(report.labels)}}},
               {"budget", BudgetJson(report)},
               {"options",
                {{"method", report.options.method},
                 {"as_published", report.options.as_published},
                 {"uniform", report.options.uniform},
                 {"finer", report.options.finer},
                 {"ridge", report.ridge},
                 {"samples", report.samples},
                 {"tokens", report.calibration_tokens},
                 {"seed", report.options.seed},
                 {"device", report.device},
                 {"dtype", report.dtype}}},
               {"curve", CurveJson(report)},
               {"forms", ProofsJson(report.forms)},
               {"sha256", {{"data", report.data_sha256}, {"model", report.model_sha256}}},
               {"seconds", SecondsJson(report.seconds, false)}};
  if (report.latency) json["latency"] = LatencyJson(*report.latency);
  for (const DataPart& part : report.options.data)
    json["options"]["data"].push_back({{"file", part.file.string()}, {"weight", part.weight}});
  if (const Json drawn = DrawnImagesJson(report.options); report.images && !drawn.is_null())
    json["options"]["drawn_images"] = drawn;
  return json;
}

}  // namespace coppice
