#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/config_reader.h"
#include "model/decoder_family.h"
#include "model/llama_gguf.h"
#include "model/llama_gguf_names.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void Refuse(const std::string& what, const std::string& where,
                         const std::string& expected, const std::string& found) {
  ThrowBadInput({.what = what, .where = where, .expected = expected, .found = found});
}

// Keys of one architecture, with their bounds.
class Keys {
 public:
  Keys(const GgufFile& file, std::string where) : file_(file), where_(std::move(where)) {
    architecture_ = file.Require<std::string>("general.architecture");
    if (architecture_ != "llama" && architecture_ != "deci") {
      Refuse("this architecture cannot be pruned", where_ + ": general.architecture",
             "llama or deci", Printable(architecture_));
    }
  }
  std::string Name(const std::string& key) const { return architecture_ + "." + key; }
  int64_t Integer(const std::string& key, int64_t low, int64_t high) const {
    return Bounded(key, file_.Require<int64_t>(Name(key)), low, high);
  }
  int64_t IntegerOr(const std::string& key, int64_t fallback, int64_t low, int64_t high) const {
    return Bounded(key, file_.Optional<int64_t>(Name(key)).value_or(fallback), low, high);
  }
  double NumberOr(const std::string& key, double fallback) const {
    return file_.Optional<double>(Name(key)).value_or(fallback);
  }
  // A number for every layer: one for all, or an array.
  std::vector<int64_t> EachLayer(const std::string& key, int64_t layers) const {
    const GgufValue* value = file_.FindValue(Name(key));
    std::vector<int64_t> numbers;
    if (value != nullptr && value->is_array()) {
      numbers = file_.Require<std::vector<int64_t>>(Name(key));
    } else {
      numbers.assign(static_cast<size_t>(layers), Integer(key, 0, kMaxDimension));
    }
    if (static_cast<int64_t>(numbers.size()) != layers) {
      Refuse("an array of another length than there are layers", where_ + ": " + Name(key),
             fmt::to_string(layers), fmt::to_string(numbers.size()));
    }
    for (const int64_t number : numbers) Bounded(key, number, 0, kMaxDimension);
    return numbers;
  }
  bool Has(const std::string& key) const { return file_.FindValue(Name(key)) != nullptr; }
  std::optional<std::string> Text(const std::string& key) const {
    return file_.Optional<std::string>(Name(key));
  }
  const std::string& where() const { return where_; }

 private:
  int64_t Bounded(const std::string& key, int64_t value, int64_t low, int64_t high) const {
    if (value < low || value > high) {
      Refuse("a number out of range", where_ + ": " + Name(key), fmt::format("{} to {}", low, high),
             fmt::to_string(value));
    }
    return value;
  }
  const GgufFile& file_;
  std::string where_, architecture_;
};

// Rows of each head from pairs (2 j, 2 j + 1) to halves (j, j + E / 2). x: (heads * E, ...).
at::Tensor PairsToHalves(const at::Tensor& x, int64_t head_width) {
  std::vector<int64_t> shape = {x.size(0) / head_width, head_width / 2, 2, x.numel() / x.size(0)};
  return x.reshape(shape).transpose(1, 2).reshape(x.sizes());
}

// Llama 3's scalings: those of its models, and the largest factor with any context.
std::vector<Json> LikelyScalings(const at::Tensor& factors) {
  const auto make = [](int64_t factor, int64_t context) {
    return Json{{"rope_type", "llama3"},
                {"factor", factor},
                {"low_freq_factor", 1.0},
                {"high_freq_factor", 4.0},
                {"original_max_position_embeddings", context}};
  };
  std::vector<Json> scalings = {make(8, 8192), make(32, 8192)};
  const double largest = factors.numel() > 0 ? factors.max().item<double>() : 0;
  if (!(largest >= 1 && largest <= kMaxDimension)) return scalings;
  for (int64_t context = 16; context <= int64_t{1} << 20; context *= 2)
    scalings.push_back(make(std::llround(largest), context));
  return scalings;
}

// The factors of rope_freqs.weight as a config's scaling; refuses those that are not Llama 3's.
Json ScalingOf(const at::Tensor& factors, double theta, int64_t head_width,
               const std::string& where) {
  for (const Json& scaling : LikelyScalings(factors)) {
    const Json plain = {{"rope_theta", theta}};
    const Json scaled = {{"rope_theta", theta}, {"rope_scaling", scaling}};
    const at::Tensor ratio = at::tensor(RotaryFrequencies(plain, head_width, where)) /
                             at::tensor(RotaryFrequencies(scaled, head_width, where));
    if (ratio.sizes().equals(factors.sizes()) && at::allclose(ratio, factors.to(at::kFloat), 1e-3))
      return scaling;
  }
  Refuse("rotary factors of a kind that is not known", where + ": tensor \"rope_freqs.weight\"",
         "Llama 3's", "others");
}

void AddRotary(const GgufFile& file, const Keys& keys, int64_t head_width, Json* config) {
  const double theta = keys.NumberOr("rope.freq_base", 10000);
  (*config)["rope_theta"] = theta;
  const int64_t turned = keys.IntegerOr("rope.dimension_count", head_width, 0, kMaxDimension);
  if (turned != head_width) {
    Refuse("part of a head is not rotated", keys.where() + ": " + keys.Name("rope.dimension_count"),
           fmt::to_string(head_width), fmt::to_string(turned));
  }
  const std::string kind = keys.Text("rope.scaling.type").value_or("none");
  if (file.FindTensor("rope_freqs.weight") != nullptr) {
    (*config)["rope_scaling"] =
        ScalingOf(file.Get("rope_freqs.weight"), theta, head_width, keys.where());
  } else if (kind == "linear") {
    (*config)["rope_scaling"] = {{"rope_type", "linear"},
                                 {"factor", keys.NumberOr("rope.scaling.factor", 1)}};
  } else if (kind != "none") {
    Refuse("rotary positions of a kind that is not known",
           keys.where() + ": " + keys.Name("rope.scaling.type"), "none or linear", Printable(kind));
  }
}

// Query heads of every layer as a multiple of its KV groups.
std::vector<int64_t> QueriesPerGroup(const std::vector<int64_t>& heads,
                                     const std::vector<int64_t>& groups, const std::string& where) {
  std::vector<int64_t> queries;
  for (size_t i = 0; i < heads.size(); ++i) {
    const bool none = heads[i] == 0 && groups[i] == 0;
    if (!none && (groups[i] == 0 || heads[i] % groups[i] != 0)) {
      Refuse(fmt::format("the head counts of layer {} do not fit together", i), where,
             "query heads a multiple of KV heads", fmt::format("{} and {}", heads[i], groups[i]));
    }
    queries.push_back(none ? 1 : heads[i] / groups[i]);
  }
  return queries;
}

Json MakeConfig(const GgufFile& file, const std::string& where) {
  const Keys keys(file, where);
  const int64_t layers = keys.Integer("block_count", 1, 512);
  const int64_t width = keys.Integer("embedding_length", 1, kMaxDimension);
  const std::vector<int64_t> heads = keys.EachLayer("attention.head_count", layers);
  const std::vector<int64_t> groups = keys.Has("attention.head_count_kv")
                                          ? keys.EachLayer("attention.head_count_kv", layers)
                                          : heads;
  const std::vector<int64_t> channels = keys.EachLayer("feed_forward_length", layers);
  const std::vector<int64_t> queries = QueriesPerGroup(heads, groups, where);
  const int64_t head_width = keys.IntegerOr(
      "attention.key_length", width / std::max<int64_t>(1, heads[0]), 2, kMaxDimension);
  const int64_t value_width =
      keys.IntegerOr("attention.value_length", head_width, 2, kMaxDimension);
  if (head_width % 2 != 0) {
    Refuse("keys that cannot rotate", where, "an even attention.key_length",
           fmt::to_string(head_width));
  }
  if (value_width != head_width) {
    Refuse("keys and values of other widths", where, fmt::to_string(head_width),
           fmt::to_string(value_width));
  }
  const GgufTensorInfo* embeddings = file.FindTensor("token_embd.weight");
  if (embeddings == nullptr || embeddings->shape.size() != 2) {
    Refuse("tensor is missing", where + ": tensor \"token_embd.weight\"", "a matrix", "none");
  }
  const auto most = [](const std::vector<int64_t>& v) {
    return std::max<int64_t>(1, *std::max_element(v.begin(), v.end()));
  };
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_act", "silu"},
                 {"hidden_size", width},
                 {"num_hidden_layers", layers},
                 {"num_attention_heads", most(groups) * most(queries)},
                 {"num_key_value_heads", most(groups)},
                 {"head_dim", head_width},
                 {"intermediate_size", most(channels)},
                 {"max_position_embeddings", keys.Integer("context_length", 1, kMaxDimension)},
                 {"rms_norm_eps", keys.NumberOr("attention.layer_norm_rms_epsilon", 1e-5)},
                 {"vocab_size", embeddings->shape[0]},
                 {"tie_word_embeddings", file.FindTensor("output.weight") == nullptr}};
  AddRotary(file, keys, head_width, &config);
  for (const auto& [key, name] : {std::pair{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                  std::pair{"eos_token_id", "tokenizer.ggml.eos_token_id"}}) {
    if (const auto id = file.Optional<int64_t>(name)) config[key] = *id;
  }
  config["coppice"] = {
      {"version", 1}, {"heads", groups}, {"channels", channels}, {"queries", queries}};
  return config;
}

}  // namespace

GgufParts ReadLlamaGguf(const GgufFile& file, const std::string& where) {
  GgufParts parts;
  parts.config = MakeConfig(file, where);
  const int64_t head_width = parts.config["head_dim"].get<int64_t>();
  for (const GgufTensorInfo& info : file.tensors()) {
    if (info.name == "rope_freqs.weight") continue;  // said by the config
    const std::string name = HuggingFaceName(info.name);
    if (name.empty()) {
      Refuse("tensor is not known to this model family",
             fmt::format("{}: tensor \"{}\"", where, Printable(info.name)), "LLaMA's tensors",
             "another");
    }
    at::Tensor tensor = file.Get(info.name);
    if (IsRotated(name) && tensor.dim() > 0 && tensor.size(0) % head_width == 0 &&
        tensor.numel() > 0) {
      tensor = PairsToHalves(tensor, head_width);
    }
    parts.tensors[name] = tensor;
  }
  // A layer without units has no tensors in the file; ours are empty.
  AddEmptyTensors(parts.config, &parts.tensors);
  return parts;
}

}  // namespace coppice
