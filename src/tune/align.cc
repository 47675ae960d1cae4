#include "tune/align.h"

#include <ATen/ATen.h>

namespace coppice {

bool ReadersHaveBias(const Model& model, const SubLayerSpec& sub) {
  for (const std::string& name : Readers(sub)) {
    if (model.tensors.count(name + ".bias") == 0) return false;
  }
  return true;
}

std::map<std::string, at::Tensor> FoldAlignment(const Model& model, const SubLayerSpec& sub,
                                                const RepairResult& alignment) {
  std::map<std::string, at::Tensor> folded;
  for (const std::string& name : Readers(sub)) {
    const at::Tensor weight = model.tensors.at(name + ".weight")
                                  .to(alignment.weight_change.device())
                                  .to(at::kDouble);  // (n, D)
    // (z + z dM + db) W' = z (W + W dM')' + W db
    const at::Tensor changed = weight + at::mm(weight, alignment.weight_change.t());
    folded[name + ".weight"] = changed.to(at::kFloat).contiguous();
    const auto bias = model.tensors.find(name + ".bias");
    if (bias == model.tensors.end()) continue;
    const at::Tensor shift = at::mv(weight, alignment.bias_change);
    folded[name + ".bias"] = (bias->second.to(shift.device(), at::kDouble) + shift).to(at::kFloat);
  }
  return folded;
}

}  // namespace coppice
