#include "model/network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "load/mapped_tensor.h"

namespace coppice {
namespace {

constexpr int64_t kDeviceBytes = int64_t{8} << 30;  // of matrices that stay on a GPU

const at::Tensor& Find(const Model& model, const std::string& name) {
  const auto found = model.tensors.find(name);
  Check(found != model.tensors.end(), "tensor of the spec is not in the model: " + name);
  return found->second;
}

// First to the device, which converts faster.
at::Tensor Bound(const at::Tensor& tensor, const Compute& compute) {
  return tensor.to(compute.device).to(compute.dtype).contiguous();
}

at::Tensor Get(const Model& model, const std::string& name, const Compute& compute) {
  return Bound(Find(model, name), compute);
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
  if (parts.size() == 1) return parts;
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

// Of all sub-layers' matrices in the compute dtype.
int64_t MatrixBytes(const Model& model, const Compute& compute) {
  int64_t numbers = 0;
  for (const SubLayerSpec& spec : model.spec.sub_layers) {
    for (const std::string& name : Readers(spec)) numbers += Find(model, name + ".weight").numel();
    numbers += Find(model, spec.output + ".weight").numel();
  }
  return numbers * static_cast<int64_t>(c10::elementSize(compute.dtype));
}

SubLayer BindSubLayer(const Model& model, const SubLayerSpec& spec, const Compute& compute,
                      bool streamed) {
  const auto get = [&](const std::string& name) -> Linear {
    if (!streamed) return GetLinear(model, name, compute);
    return {Find(model, name + ".weight"), GetOptional(model, name + ".bias", compute)};
  };
  SubLayer sub;
  sub.kind = spec.kind;
  sub.units = spec.units;
  sub.width = spec.width;
  sub.gated = !spec.gate.empty();
  if (spec.kind == UnitKind::kHead) {
    sub.queries = spec.queries;
    sub.key_width = spec.key_width;
    sub.scale = 1 / std::sqrt(static_cast<double>(model.spec.head_width));
    if (!spec.pairs.empty()) {
      const at::Tensor pairs = at::tensor(spec.pairs, at::kLong);
      sub.turns = at::cat({pairs, pairs + model.spec.head_width / 2}).to(compute.device);
    }
    if (!spec.relative_bias.empty()) {
      sub.relative_bias = Get(model, spec.relative_bias, {compute.device, at::kFloat});
    }
  }
  for (const std::string& name : Readers(spec)) sub.in.push_back(get(name));
  if (!streamed) sub.in = Join(std::move(sub.in), compute.joined_bytes);
  sub.out = get(spec.output);
  sub.norm = GetNorm(model, spec.norm, compute);
  return sub;
}

// Calls visit(linear) for each of a sub-layer's matrices.
template <typename Sub, typename Visit>
void ForMatrices(Sub& sub, const Visit& visit) {
  for (auto& linear : sub.in) visit(linear);
  visit(sub.out);
}

std::vector<at::Tensor> MatricesOf(const SubLayer& sub) {
  std::vector<at::Tensor> matrices;
  ForMatrices(sub, [&](const Linear& one) { matrices.push_back(one.weight); });
  return matrices;
}

}  // namespace

Fetched Fetch(const Network& net, size_t index) {
  const SubLayer& kept = net.sub_layers[index];
  if (!net.streamed) return {Fetched(), &kept};  // the network owns it
  const bool on_cpu = net.compute.device.is_cpu();
  auto bound = std::make_unique<SubLayer>(kept);
  std::optional<std::vector<at::Tensor>> copies;
  if (net.ahead) copies = net.ahead->Take(index, MatricesOf(kept));
  size_t next = 0;
  ForMatrices(*bound, [&](Linear& one) {
    one.weight = copies ? (*copies)[next++] : Bound(one.weight, net.compute);
  });
  // On the CPU what the products read may be the file itself.
  return {bound.release(), [kept, on_cpu](const SubLayer* gone) {
            const std::unique_ptr<const SubLayer> owned(gone);
            if (on_cpu) ForMatrices(kept, [](const Linear& one) { DropPages(one.weight); });
          }};
}

Fetched FetchOutput(const Network& net, size_t index) {
  if (!net.streamed || net.compute.device.is_cpu()) return Fetch(net, index);
  auto bound = std::make_shared<SubLayer>(net.sub_layers[index]);
  bound->out.weight = Bound(bound->out.weight, net.compute);
  return bound;
}

void Prefetch(const Network& net, size_t index) {
  if (!net.ahead || index >= net.sub_layers.size()) return;
  net.ahead->Begin(index, MatricesOf(net.sub_layers[index]));
}

void Rebind(const Model& model, size_t index, Network* net) {
  net->sub_layers[index] =
      BindSubLayer(model, model.spec.sub_layers[index], net->compute, net->streamed);
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
  const int64_t room =
      compute.device.is_cuda() ? std::min(kDeviceBytes, compute.memory) : compute.memory;
  net.streamed = MatrixBytes(model, compute) > room;
  if (net.streamed && compute.device.is_cuda())
    net.ahead = std::make_shared<Ahead>(compute.device, compute.dtype);
  for (const SubLayerSpec& sub : spec.sub_layers)
    net.sub_layers.push_back(BindSubLayer(model, sub, compute, net.streamed));
  for (const HeadLinear& linear : spec.head) {
    net.head.push_back(
        {GetLinear(model, linear.name, {compute.device, at::kFloat}), linear.activation});
  }
  return net;
}

}  // namespace coppice
