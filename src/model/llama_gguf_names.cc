#include "model/llama_gguf_names.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <string_view>

namespace coppice {
namespace {

struct Name {
  std::string_view gguf, hugging_face;
};

constexpr std::array<Name, 3> kWhole = {{{"token_embd.weight", "model.embed_tokens.weight"},
                                         {"output_norm.weight", "model.norm.weight"},
                                         {"output.weight", "lm_head.weight"}}};

// After "blk.N." and "model.layers.N.", before ".weight" or ".bias".
constexpr std::array<Name, 9> kLayer = {{{"attn_norm", "input_layernorm"},
                                         {"attn_q", "self_attn.q_proj"},
                                         {"attn_k", "self_attn.k_proj"},
                                         {"attn_v", "self_attn.v_proj"},
                                         {"attn_output", "self_attn.o_proj"},
                                         {"ffn_norm", "post_attention_layernorm"},
                                         {"ffn_gate", "mlp.gate_proj"},
                                         {"ffn_up", "mlp.up_proj"},
                                         {"ffn_down", "mlp.down_proj"}}};

constexpr std::string_view kGgufLayer = "blk.";
constexpr std::string_view kOurLayer = "model.layers.";

// Translates by the two tables: from `from` to `to`, two members of Name.
std::string Translate(std::string_view name, std::string_view Name::*from,
                      std::string_view Name::*to, std::string_view prefix,
                      std::string_view new_prefix) {
  for (const Name& row : kWhole) {
    if (row.*from == name) return std::string(row.*to);
  }
  if (!name.starts_with(prefix)) return {};
  const std::string_view rest = name.substr(prefix.size());
  const size_t dot = rest.find('.');
  const size_t last = rest.rfind('.');
  if (dot == std::string_view::npos || dot == 0 || last <= dot) return {};
  if (rest.find_first_not_of("0123456789") != dot) return {};
  const std::string_view end = rest.substr(last);
  if (end != ".weight" && end != ".bias") return {};
  const std::string_view middle = rest.substr(dot + 1, last - dot - 1);
  for (const Name& row : kLayer) {
    if (row.*from == middle)
      return fmt::format("{}{}.{}{}", new_prefix, rest.substr(0, dot), row.*to, end);
  }
  return {};
}

void AddIfAbsent(const std::string& name, const std::vector<int64_t>& shape,
                 std::map<std::string, at::Tensor>* tensors) {
  tensors->try_emplace(name, at::ones(shape, at::kFloat));
}

}  // namespace

std::string HuggingFaceName(const std::string& gguf_name) {
  return Translate(gguf_name, &Name::gguf, &Name::hugging_face, kGgufLayer, kOurLayer);
}

std::string GgufName(const std::string& hugging_face_name) {
  return Translate(hugging_face_name, &Name::hugging_face, &Name::gguf, kOurLayer, kGgufLayer);
}

bool IsRotated(const std::string& hugging_face_name) {
  return hugging_face_name.find(".q_proj.") != std::string::npos ||
         hugging_face_name.find(".k_proj.") != std::string::npos;
}

void AddEmptyTensors(const nlohmann::ordered_json& config,
                     std::map<std::string, at::Tensor>* tensors) {
  const int64_t width = config["hidden_size"].get<int64_t>();
  for (size_t i = 0; i < config["coppice"]["heads"].size(); ++i) {
    const std::string layer = fmt::format("{}{}.", kOurLayer, i);
    if (config["coppice"]["heads"][i] == 0) {
      for (const char* name : {"q_proj", "k_proj", "v_proj"})
        AddIfAbsent(fmt::format("{}self_attn.{}.weight", layer, name), {0, width}, tensors);
      AddIfAbsent(layer + "self_attn.o_proj.weight", {width, 0}, tensors);
      AddIfAbsent(layer + "input_layernorm.weight", {width}, tensors);
    }
    if (config["coppice"]["channels"][i] == 0) {
      for (const char* name : {"gate_proj", "up_proj"})
        AddIfAbsent(fmt::format("{}mlp.{}.weight", layer, name), {0, width}, tensors);
      AddIfAbsent(layer + "mlp.down_proj.weight", {width, 0}, tensors);
      AddIfAbsent(layer + "post_attention_layernorm.weight", {width}, tensors);
    }
  }
}

}  // namespace coppice
