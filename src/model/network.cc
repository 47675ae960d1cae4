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

at::Tensor GetOptional(const Model& model, const std::string& name, const Compute& compute) {
  return model.tensors.count(name) > 0 ? Get(model, name, compute) : at::Tensor();
}

Linear GetLinear(const Model& model, const std::string& name, const Compute& compute) {
  return {Get(model, name + ".weight", compute), GetOptional(model, name + ".bias", compute)};
}

Norm GetNorm(const Model& model, const std::string& name, const Compute& compute) {
  const Compute exact = {compute.device, at::kFloat};
  return {Get(model, name + ".weight", exact), GetOptional(model, name + ".bias", exact)};
}

// Several linear layers with one input, as one where that is small. Where some have a bias, the
// others get zeros.
std::vector<Linear> Join(std::vector<Linear> parts, size_t most_bytes) {
  size_t bytes = 0;
  for (const Linear& part : parts) bytes += part.weight.nbytes();
  if (bytes > most_bytes) return parts;
  std::vector<at::Tensor> weights, biases;
  bool any = false;
  for (const Linear& part : parts) {
    weights.push_back(part.weight);
    any = any || part.bias.defined();
    biases.push_back(part.bias.defined() ? part.bias
                                         : at::zeros({part.weight.size(0)}, part.weight.options()));
  }
  return {{at::cat(weights), any ? at::cat(biases) : at::Tensor()}};
}

}  // namespace

SubLayer BindSubLayer(const Model& model, const SubLayerSpec& spec, const Compute& compute) {
  SubLayer sub;
  sub.kind = spec.kind;
  sub.units = spec.units;
  sub.width = spec.width;
  if (spec.kind == UnitKind::kHead) {
    sub.queries = spec.queries;
    sub.in = Join({GetLinear(model, spec.query, compute), GetLinear(model, spec.key, compute),
                   GetLinear(model, spec.value, compute)},
                  compute.joined_bytes);
    if (!spec.relative_bias.empty()) {
      sub.relative_bias = Get(model, spec.relative_bias, {compute.device, at::kFloat});
    }
  } else if (!spec.gate.empty()) {
    sub.gated = true;
    sub.in = Join({GetLinear(model, spec.gate, compute), GetLinear(model, spec.up, compute)},
                  compute.joined_bytes);
  } else {
    sub.in = {GetLinear(model, spec.up, compute)};
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
  if (spec.form == BlockForm::kEncoder) {
    net.position = model.tensors.at(spec.position_embeddings).to(compute.device);
    if (!spec.token_type_embeddings.empty()) {
      net.token_type = model.tensors.at(spec.token_type_embeddings).to(compute.device);
    }
    net.embedding_norm = GetNorm(model, spec.embedding_norm, compute);
  } else {
    if (spec.image.grid > 0) {
      net.word = at::cat({net.word, model.tensors.at(spec.image.class_embeddings)
                                        .to(compute.device, net.word.scalar_type())});
    }
    net.frequencies = at::tensor(spec.rotary.frequencies, at::kFloat).to(compute.device);
    net.final_norm = GetNorm(model, spec.final_norm, compute);
    net.output = Get(model, spec.output, compute);
  }
  for (const SubLayerSpec& sub : spec.sub_layers)
    net.sub_layers.push_back(BindSubLayer(model, sub, compute));
  for (const HeadLinear& linear : spec.head) {
    net.head.push_back(
        {GetLinear(model, linear.name, {compute.device, at::kFloat}), linear.activation});
  }
  return net;
}

}  // namespace coppice
