#include "model/network.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace coppice {
namespace {

at::Tensor Get(const Model& model, const std::string& name, const Compute& compute) {
  const auto found = model.tensors.find(name);
  Check(found != model.tensors.end(), "tensor of the spec is not in the model: " + name);
  return found->second.to(compute.device, compute.dtype).contiguous();
}

Linear GetLinear(const Model& model, const std::string& name, const Compute& compute) {
  return {Get(model, name + ".weight", compute), Get(model, name + ".bias", compute)};
}

Norm GetNorm(const Model& model, const std::string& name, const Compute& compute) {
  const Compute exact = {compute.device, at::kFloat};
  return {Get(model, name + ".weight", exact), Get(model, name + ".bias", exact)};
}

}  // namespace

SubLayer BindSubLayer(const Model& model, const SubLayerSpec& spec, const Compute& compute) {
  SubLayer sub;
  sub.kind = spec.kind;
  sub.units = spec.units;
  sub.width = spec.width;
  if (spec.kind == UnitKind::kHead) {
    const Linear query = GetLinear(model, spec.query, compute);
    const Linear key = GetLinear(model, spec.key, compute);
    const Linear value = GetLinear(model, spec.value, compute);
    sub.in = {at::cat({query.weight, key.weight, value.weight}),
              at::cat({query.bias, key.bias, value.bias})};
    if (!spec.relative_bias.empty()) {
      sub.relative_bias = Get(model, spec.relative_bias, {compute.device, at::kFloat});
    }
  } else {
    sub.in = GetLinear(model, spec.up, compute);
  }
  sub.out = GetLinear(model, spec.output, compute);
  sub.norm = GetNorm(model, spec.norm, compute);
  return sub;
}

Network Bind(const Model& model, const Compute& compute) {
  const ModelSpec& spec = model.spec;
  Network net;
  net.spec = spec;
  net.compute = compute;
  net.word = model.tensors.at(spec.word_embeddings).to(compute.device);
  net.position = model.tensors.at(spec.position_embeddings).to(compute.device);
  if (!spec.token_type_embeddings.empty()) {
    net.token_type = model.tensors.at(spec.token_type_embeddings).to(compute.device);
  }
  net.embedding_norm = GetNorm(model, spec.embedding_norm, compute);
  for (const SubLayerSpec& sub : spec.sub_layers)
    net.sub_layers.push_back(BindSubLayer(model, sub, compute));
  for (const HeadLinear& linear : spec.head) {
    net.head.push_back(
        {GetLinear(model, linear.name, {compute.device, at::kFloat}), linear.activation});
  }
  return net;
}

}  // namespace coppice
