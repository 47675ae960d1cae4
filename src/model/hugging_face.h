// What a Hugging Face folder needs beyond coppice's own view of a model, so that transformers loads
// it: with stock classes where they can hold the sizes, else with those of kRemoteModule, whose
// file lies in the folder (src/export/modeling_coppice.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "model/model.h"

namespace coppice {

// The module's name, without ".py".
inline constexpr const char* kRemoteModule = "modeling_coppice";

// The config's "auto_map": leads transformers' automatic classes to kRemoteModule where the config
// has a "coppice" block, and nowhere else. Other entries stay.
void MapClasses(const ModelSpec& spec, nlohmann::ordered_json* config);

// StoredTensors() as transformers' classes want them: where the config says that linear layers have
// biases, zeros for those that have none.
std::map<std::string, at::Tensor> HuggingFaceTensors(const Model& model);

}  // namespace coppice
