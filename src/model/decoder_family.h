// Decoders of LLaMA's kind: RMS norm, rotary positions, attention over KV groups, gated channels
// (Touvron et al. 2023, section 2.2; grouped queries: Ainslie et al. 2023). They share tensor names
// and config keys; a family is what differs.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/model.h"

namespace coppice {

struct DecoderFamily {
  std::string model_type;
  std::string class_prefix;  // of transformers' classes, e.g. "Llama"
  double default_norm_eps = 1e-6;
  bool sliding_window = false;  // whether the config may limit attention to the last tokens
};

// The one list of decoder families.
const std::vector<DecoderFamily>& DecoderFamilies();

// Fills the spec and checks name, dtype and shape of every tensor. Throws Error (kBadInput).
ModelSpec MakeDecoderSpec(const DecoderFamily& family, const nlohmann::ordered_json& config,
                          const std::map<std::string, at::Tensor>& tensors,
                          const std::string& where);

// The config for other sizes and biases; see ConfigWithSizes().
nlohmann::ordered_json DecoderConfig(const nlohmann::ordered_json& config, const ModelSpec& spec,
                                     const std::map<std::string, at::Tensor>& tensors);

// Zeros, (out), for the linear layers without a bias where the config says that all of their kind
// have one.
std::map<std::string, at::Tensor> DecoderMissingBiases(
    const nlohmann::ordered_json& config, const ModelSpec& spec,
    const std::map<std::string, at::Tensor>& tensors);

// What a config says of the rotation, in either version's keys. Throws Error (kBadInput) for a
// scaling that is not known.
struct RotaryForm {
  std::string kind = "default";  // or "linear", "llama3"
  double theta = 10000;
  double factor = 1;  // of the scaling
};
RotaryForm ReadRotaryForm(const nlohmann::ordered_json& config, const std::string& where);

// Frequencies of a rotation of width E: theta^(-2 j / E) for j < E / 2, as the config's scaling
// changes them. Throws Error (kBadInput) for a scaling that is not known.
std::vector<float> RotaryFrequencies(const nlohmann::ordered_json& config, int64_t head_width,
                                     const std::string& where);

}  // namespace coppice
