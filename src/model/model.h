// A Transformer as coppice sees it: dimensions, a list of sub-layers, and named tensors.
//
// The one idea is the *unit*: a head of an attention sub-layer, a channel of a feed-forward one.
// Where query heads share keys and values, the unit is a KV group: one key and value head with its
// query heads. A unit owns slices of several tensors that can only leave together (a head's rows of
// query, key and value and its columns of the output projection). Those slices are data, written
// down by the model family; scores, search, repair and shrinking see sub-layers and slices and
// never ask for a model's name.
//
// A pruned model is just a model: every sub-layer has its own number of units, zero included.
// config.json of a pruned folder states them ("coppice": {"heads": [...], "channels": [...]}), and
// they are checked against the tensors like everything else. A sub-layer's heads may be narrower
// than the dense model's, too ("values", "keys"): all of them alike, so that they stay one batch of
// products.
//
// Words and shapes: L layers, D width, H heads, E head width, R query heads a unit, C channels,
// V vocabulary, T tokens; F the width of a sub-layer's values, K that of its queries and keys: E
// where nothing was narrowed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "load/gguf_header.h"

namespace coppice {

enum class UnitKind { kHead, kChannel };

// What the model's head is for; decides the loss, the metric and the examples' fields.
enum class Task { kNone, kClassification, kRegression, kQuestionAnswering, kLanguageModel };

enum class Activation { kIdentity, kGelu, kGeluTanh, kRelu, kTanh, kSilu };

// The order of things in a block. Encoders add the branch to the residual stream, then layer norm
// (post-norm); decoders read the stream through an RMS norm, attend to earlier tokens only, rotate
// queries and keys, and gate the channels.
enum class BlockForm { kEncoder, kDecoder };

// What the rows of a head's slice are numbers of.
enum class HeadPart { kWhole, kValues, kKeys };

// The part of a tensor that a sub-layer's units own: along `axis`, unit i owns [i * width, (i + 1)
// * width).
struct Slice {
  std::string tensor;
  int64_t axis = 0;
  int64_t width = 1;
  HeadPart part = HeadPart::kWhole;
};

// One residual branch: attention or feed-forward. Tensor fields hold names without
// ".weight"/".bias".
struct SubLayerSpec {
  UnitKind kind = UnitKind::kHead;
  int64_t layer = 0;
  int64_t units = 0;           // heads, KV groups or channels that are there
  int64_t width = 1;           // inputs of the output projection that a unit owns: R * F, or 1
  int64_t queries = 1;         // attention: query heads a unit has (R)
  int64_t key_width = 1;       // attention: numbers of a query and of a key (K)
  std::vector<int64_t> pairs;  // attention: which pairs of a head turn, where they are not all of
                               // them in their order: (K / 2)
  std::vector<Slice> slices;   // everything that leaves with a unit
  std::string query;           // attention: (units * R * K, D)
  std::string key;             // attention: (units * K, D)
  std::string value;           // attention: (units * F, D)
  std::string relative_bias;   // attention, optional: full name of a (buckets, units) tensor
  std::string up;              // feed-forward: (units, D)
  std::string gate;            // feed-forward, optional: (units, D)
  std::string output;          // both: weight (D, units * width), bias (D)
  std::string norm;  // both: (D), layer norm after the residual sum or RMS norm before the branch
};

// F of an attention sub-layer, 1 of another.
inline int64_t ValueWidth(const SubLayerSpec& sub) { return sub.width / sub.queries; }

// Names, without ".weight", of what reads the sub-layer's input, in the order of SubLayer::in.
std::vector<std::string> Readers(const SubLayerSpec& sub);

// A linear layer of the head, followed by an activation.
struct HeadLinear {
  std::string name;
  Activation activation = Activation::kIdentity;
};

// Where position embeddings start: row t for token t, or counted over tokens that are not padding,
// from padding + 1.
enum class PositionRule { kFromZero, kAfterPadding };

// Rotary position embedding (Su et al. 2021): pair j of a head turns by position * frequency j. In
// an image the first half of the pairs turns by the row, the second by the column; the class has
// cosine and sine 0, so that its query and key vanish.
struct Rotary {
  std::vector<float> frequencies;  // (E / 2), in an image (E / 4); empty without rotation
  bool neighbours = false;         // pairs are (2j, 2j + 1), not (j, j + E / 2)
};

// Tokens of images, in raster order after a class: class c is id V + c, the null class of guidance
// V + classes.
struct ImageTokenSpec {
  int64_t grid = 0;              // the side of an image in tokens; 0: the model reads text
  int64_t classes = 0;           // without the null class
  std::string class_embeddings;  // (classes + 1, D), full name
};

struct ModelSpec {
  std::string family;  // config.json's model_type
  Task task = Task::kNone;
  BlockForm form = BlockForm::kEncoder;
  int64_t labels = 0;      // outputs of the head (0 without a head)
  int64_t width = 0;       // D
  int64_t head_width = 0;  // E
  int64_t layers = 0;      // L
  int64_t vocabulary = 0;  // V
  int64_t max_tokens = 0;  // longest input
  int64_t pad_id = 0;
  int64_t token_types = 0;  // rows of the token type table; 0 without one
  double norm_eps = 1e-12;
  Activation activation = Activation::kGelu;
  PositionRule positions = PositionRule::kFromZero;
  std::string word_embeddings, position_embeddings,
      token_type_embeddings;         // full names; the last may be empty, in decoders the last two
  std::string embedding_norm;        // encoders
  Rotary rotary;                     // decoders
  ImageTokenSpec image;              // decoders of images
  std::string final_norm;            // decoders: RMS norm before the output
  std::string output;                // decoders: (V, D), full name; the word embeddings where tied
  std::string shared_relative_bias;  // full name of the table that dense layers share; may be empty
  std::vector<SubLayerSpec>
      sub_layers;  // 2L: attention and feed-forward of layer 0, of layer 1, ...
  std::vector<HeadLinear>
      head;  // read from the first token, or from every token for question answering
};

struct Model {
  ModelSpec spec;
  std::map<std::string, at::Tensor>
      tensors;  // by the file's names and in its dtypes; memory-mapped, read only
  nlohmann::ordered_json config;
  std::filesystem::path source;      // the folder or file it came from
  std::optional<GgufMetadata> gguf;  // the metadata of the GGUF file it came from
  std::vector<std::filesystem::path> weight_files;
  std::vector<std::filesystem::path> passthrough;  // files of the folder to copy unread
};

// Loads and checks a folder, or a GGUF file (or a folder that holds one and no config.json): every
// tensor that the family needs is there with the shape that the config says, and no tensor is
// unknown. Throws Error (kBadInput) naming file, tensor, expected and found.
Model LoadModel(const std::filesystem::path& path);

// Makes the spec of `config` and `tensors`; the part of LoadModel() after the files are read.
// `where` names the folder in messages.
ModelSpec MakeSpec(const nlohmann::ordered_json& config, std::map<std::string, at::Tensor>* tensors,
                   const std::string& where);

// All tensors but the per-layer views of a shared table that no layer has cut.
std::map<std::string, at::Tensor> OwnTensors(const Model& model);

// The same as a file of this model holds them.
std::map<std::string, at::Tensor> StoredTensors(const Model& model);

// The config of a model whose sub-layers have other sizes. Where every layer has all heads and the
// same number of channels, the family's own key says so and stock model classes load the model;
// otherwise the sizes stand in a "coppice" block.
nlohmann::ordered_json ConfigWithSizes(const nlohmann::ordered_json& config, const ModelSpec& spec,
                                       const std::map<std::string, at::Tensor>& tensors);

// model_type of every family, in the order of the list.
std::vector<std::string> FamilyNames();

std::string TaskName(Task task);      // "classification", "question-answering", ...
std::string UnitName(UnitKind kind);  // "head", "channel"

}  // namespace coppice
