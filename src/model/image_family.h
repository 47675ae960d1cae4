// Class-conditional models of image tokens, of LlamaGen's kind (Sun et al. 2024, arXiv 2406.06525):
// a decoder of LLaMA's kind over the g x g tokens of an image, in raster order after one class.
//
// Three things differ from text. A sequence is a class, then tokens; classes have a table of their
// own, which is bound behind the words', so that class c is id V + c, and the null class of
// guidance the last. Rotary positions are rows and columns. And queries, keys and values are one
// tensor in the file: it is split on the way in and joined on the way out, so that nobody between
// knows of it.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "model/model.h"

namespace coppice {

inline constexpr std::string_view kImageFamily = "llamagen";  // its model_type

// Fills the spec, splits the fused projections in `tensors`, and checks name, dtype and shape of
// every tensor. Throws Error (kBadInput).
ModelSpec MakeImageSpec(const nlohmann::ordered_json& config,
                        std::map<std::string, at::Tensor>* tensors, const std::string& where);

// The config for other sizes; see ConfigWithSizes().
nlohmann::ordered_json ImageConfig(const nlohmann::ordered_json& config, const ModelSpec& spec);

// A Python file that loads a folder of such a model and draws from it, written beside the weights:
// no stock class takes layers that differ. Null for models of text.
struct LoaderFile {
  std::string_view name, text;
};
const LoaderFile* LoaderOf(const ModelSpec& spec);

// Joins the projections again, as files hold them.
void JoinFused(const ModelSpec& spec, std::map<std::string, at::Tensor>* tensors);

}  // namespace coppice
