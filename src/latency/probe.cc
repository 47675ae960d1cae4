#include "latency/probe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace coppice {
namespace {

constexpr int64_t kWords = 1000;

// The sub-layer with the most units of a kind.
const SubLayerSpec& Widest(const ModelSpec& spec, UnitKind kind) {
  const SubLayerSpec* widest = nullptr;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind == kind && (widest == nullptr || sub.units > widest->units)) widest = &sub;
  }
  Check(widest != nullptr, "a model without a kind of sub-layers");
  return *widest;
}

// Numbers of a sub-layer's matrices, per unit.
double NumbersPerUnit(const ModelSpec& spec, const SubLayerSpec& sub) {
  const double matrices = sub.kind == UnitKind::kHead ? 2 + 2 / static_cast<double>(sub.queries)
                                                      : (sub.gate.empty() ? 2 : 3);
  return matrices * static_cast<double>(spec.width * sub.width);
}

// Steps of eighths, and few units one by one.
std::vector<int64_t> Widths(int64_t most, const std::vector<double>& shares) {
  std::vector<int64_t> widths = {0};
  for (const double share : shares) {
    const auto width = static_cast<int64_t>(std::llround(share * static_cast<double>(most)));
    if (width > widths.back()) widths.push_back(width);
  }
  return widths;
}

// As many rows along `axis` as `units` units have, those of the tensor over and over.
at::Tensor Resize(const at::Tensor& tensor, const Slice& slice, int64_t units) {
  const int64_t there = tensor.size(slice.axis);
  Check(there > 0 || units == 0, "a probe of nothing");
  const at::Tensor index = at::arange(units * slice.width, at::kLong);
  return tensor.index_select(slice.axis, there > 0 ? index.remainder(there) : index);
}

void SetUnits(const Model& model, int64_t units, SubLayerSpec* sub, Model* probe) {
  const SubLayerSpec& from = Widest(model.spec, sub->kind);
  Check(from.slices.size() == sub->slices.size(), "sub-layers of one kind with other tensors");
  for (size_t k = 0; k < sub->slices.size(); ++k) {
    const Slice& slice = sub->slices[k];
    probe->tensors.at(slice.tensor) = Resize(model.tensors.at(from.slices[k].tensor), slice, units);
  }
  sub->units = units;
}

}  // namespace

ProbeWidths ChooseProbeWidths(const ModelSpec& spec) {
  constexpr double kNumbers = 4e8;  // in all probes together, about
  constexpr double kProbes = 10;    // whole models that the probes come to
  ProbeWidths widths;
  const SubLayerSpec& attention = Widest(spec, UnitKind::kHead);
  const SubLayerSpec& feed_forward = Widest(spec, UnitKind::kChannel);
  widths.heads =
      Widths(attention.units, {1. / 12, 2. / 12, .25, 4. / 12, .5, 8. / 12, 10. / 12, 1});
  widths.channels =
      Widths(feed_forward.units, {1. / 48, 1. / 16, .125, .25, .375, .5, .625, .75, .875, 1});
  widths.half_heads = (attention.units + 1) / 2;
  widths.half_channels = (feed_forward.units + 1) / 2;
  const double layer = NumbersPerUnit(spec, attention) * static_cast<double>(attention.units) +
                       NumbersPerUnit(spec, feed_forward) * static_cast<double>(feed_forward.units);
  const auto fitting = static_cast<int64_t>(kNumbers / kProbes / std::max(1.0, layer));
  widths.layers = std::min(spec.layers, std::clamp<int64_t>(fitting, 2, 8));
  return widths;
}

Model MakeProbe(const Model& model, int64_t layers, int64_t heads, int64_t channels) {
  Model probe = model;
  ModelSpec& spec = probe.spec;
  spec.layers = layers;
  spec.sub_layers.resize(static_cast<size_t>(2 * layers));
  for (SubLayerSpec& sub : spec.sub_layers)
    SetUnits(model, sub.kind == UnitKind::kHead ? heads : channels, &sub, &probe);
  spec.vocabulary = std::min(spec.vocabulary, kWords);
  for (const std::string& name : {spec.word_embeddings, spec.output}) {
    if (!name.empty()) probe.tensors[name] = probe.tensors.at(name).slice(0, 0, spec.vocabulary);
  }
  return probe;
}

Model MakeEmpty(const Model& model) {
  Model empty = model;
  for (SubLayerSpec& sub : empty.spec.sub_layers) SetUnits(model, 0, &sub, &empty);
  return empty;
}

}  // namespace coppice
