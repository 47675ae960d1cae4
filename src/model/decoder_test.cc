// The forward pass of decoders against the goldens of testdata/tiny-decoders (transformers), from
// folders and from GGUF files; padding, generation with a cache, and what is refused.
#include <gtest/gtest.h>

#include "model/attention.h"
#include "model/decoder_family.h"
#include "model/decoder_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-4;

std::string Stem(const std::string& name) { return name.substr(0, name.find('.')); }

TEST(TinyDecoder, LoadsAsTheGoldenSaysAndAllAreThere) {
  ASSERT_EQ(TinyDecoderNames().size(), 11u);
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const ModelSpec& spec = tiny.model.spec;
    EXPECT_EQ(spec.family, name == "mistral" ? "mistral" : "llama");
    EXPECT_EQ(spec.task, Task::kLanguageModel);
    EXPECT_EQ(spec.max_tokens, name == "mistral" ? 48 : 64);  // its sliding window is shorter
    EXPECT_EQ(spec.head_width, name == "wide-heads" ? 16 : 8);
    EXPECT_EQ(spec.output == spec.word_embeddings, Stem(name) == "tied");
    EXPECT_FLOAT_EQ(static_cast<float>(spec.norm_eps), 1e-3f);
    EXPECT_EQ(tiny.model.gguf.has_value(), name.ends_with(".gguf"));
    ASSERT_EQ(spec.sub_layers.size(), 2 * tiny.golden["layers"].get<size_t>());
    if (name == "deci.gguf") continue;
    for (const SubLayerSpec& sub : spec.sub_layers) {
      const bool attention = sub.kind == UnitKind::kHead;
      EXPECT_EQ(sub.units, tiny.golden[attention ? "groups" : "channels"]);
      EXPECT_EQ(sub.queries, attention ? tiny.golden["queries"].get<int64_t>() : 1);
    }
  }
}

TEST(TinyDecoder, GivesTheSameWithMatricesApart) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    Compute apart = tiny.net.compute;
    apart.joined_bytes = 0;
    const Network net = Bind(tiny.model, apart);
    EXPECT_EQ(net.sub_layers[1].in.size(), 2u);
    const Batch batch = GoldenBatch(tiny.cases, net.spec.pad_id);
    EXPECT_LT(MaxDifference(Outputs(net, batch), Outputs(tiny.net, batch)), 1e-5);
  }
}

TEST(TinyDecoder, GivesTheSameWithMatricesThatStream) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    EXPECT_FALSE(tiny.net.streamed);
    Compute compute = tiny.net.compute;
    compute.memory = 0;
    const Network net = Bind(tiny.model, compute);
    EXPECT_TRUE(net.streamed);
    EXPECT_TRUE(net.sub_layers[1].out.weight.is_same(
        tiny.model.tensors.at(tiny.model.spec.sub_layers[1].output + ".weight")));
    const Batch batch = GoldenBatch(tiny.cases, net.spec.pad_id);
    EXPECT_LT(MaxDifference(Outputs(net, batch), Outputs(tiny.net, batch)), 1e-5);
  }
}

TEST(TinyDecoder, GivesTheGoldenLogitsAloneAndPadded) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const Batch batch = GoldenBatch(tiny.cases, tiny.net.spec.pad_id);
    ASSERT_TRUE(batch.padded);
    const at::Tensor together = Outputs(tiny.net, batch);
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      const json& one = tiny.cases[i];
      SCOPED_TRACE(one["text"]);
      const at::Tensor golden = GoldenLogits(one);
      const at::Tensor alone = Outputs(tiny.net, GoldenBatch({one}, tiny.net.spec.pad_id));
      const auto row = static_cast<int64_t>(i);
      EXPECT_EQ(alone.size(2), tiny.net.spec.vocabulary);
      EXPECT_LT(MaxDifference(LogitsLike(tiny.golden, one, alone, 0), golden), kTolerance);
      EXPECT_LT(MaxDifference(LogitsLike(tiny.golden, one, together, row), golden), kTolerance);
      EXPECT_LT(MaxDifference(together[row].slice(0, 0, alone.size(1)), alone[0]), 3e-5);
    }
  }
}

// What stands under a padded position, and how far padding reaches, must not matter.
TEST(TinyDecoder, DoesNotReadPaddingNorLaterTokens) {
  for (const std::string name : {"llama3", "mistral", "deci.gguf"}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(name);
      const TinyDecoder tiny(name, dtype);
      Batch batch = GoldenBatch(tiny.cases, tiny.net.spec.pad_id);
      const at::Tensor before = Outputs(tiny.net, batch).index({batch.mask});
      batch.ids.masked_fill_(batch.mask.logical_not(), 7);
      EXPECT_EQ(MaxDifference(Outputs(tiny.net, batch).index({batch.mask}), before), 0);
      batch.ids.slice(1, 9).fill_(11);  // no row's first 9 tokens see these
      const at::Tensor first = Outputs(tiny.net, batch).slice(1, 0, 9);
      const at::Tensor alone =
          Outputs(tiny.net, GoldenBatch(tiny.cases, tiny.net.spec.pad_id)).slice(1, 0, 9);
      EXPECT_EQ(MaxDifference(first[3], alone[3]), 0);
    }
  }
}

TEST(TinyDecoder, Bfloat16IsNearTheGolden) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name, at::kBFloat16);
    const at::Tensor output = Outputs(tiny.net, GoldenBatch(tiny.cases, tiny.net.spec.pad_id));
    EXPECT_EQ(output.scalar_type(), at::kFloat);
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      const at::Tensor golden = GoldenLogits(tiny.cases[i]);
      const at::Tensor found =
          LogitsLike(tiny.golden, tiny.cases[i], output, static_cast<int64_t>(i));
      EXPECT_LT((found - golden).square().mean().sqrt().item<double>(), 0.05);
    }
  }
}

// Logits (1, T, V) of one row of ids, `steps` tokens at a time, with a cache a sub-layer.
at::Tensor Generate(const Network& net, const at::Tensor& ids, const std::vector<int64_t>& steps) {
  at::NoGradGuard no_gradients;
  std::vector<KeyValueCache> caches(net.sub_layers.size());
  std::vector<at::Tensor> logits;
  int64_t first = 0;
  for (const int64_t step : steps) {
    Batch batch;
    batch.ids = ids.slice(1, first, first + step);
    batch.mask = at::ones_like(batch.ids).to(at::kBool);
    batch.samples = {0};
    const AttentionContext context = MakeContext(net, batch, first);
    at::Tensor hidden = Embed(net, batch);
    for (size_t i = 0; i < net.sub_layers.size(); ++i) {
      const SubLayer& sub = net.sub_layers[i];
      const at::Tensor inputs = UnitInputs(net, sub, hidden, context, &caches[i]);
      hidden = AddBranch(net, sub, hidden, Project(sub, inputs));
    }
    logits.push_back(ApplyHead(net, hidden, batch));
    first += step;
  }
  return at::cat(logits, 1);
}

TEST(TinyDecoder, TokenByTokenWithACacheIsTheWholePass) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const Batch batch = GoldenBatch({tiny.cases[3]}, 0);
    const int64_t tokens = batch.ids.size(1);
    ASSERT_EQ(tokens, 31);
    const at::Tensor whole = Outputs(tiny.net, batch);
    const std::vector<int64_t> ones(static_cast<size_t>(tokens), 1);
    EXPECT_LT(MaxDifference(Generate(tiny.net, batch.ids, ones), whole), 3e-5);
    EXPECT_LT(MaxDifference(Generate(tiny.net, batch.ids, {5, 1, 13, 12}), whole), 3e-5);
  }
}

TEST(TinyDecoder, GgufTwinIsTheSameModel) {
  for (const std::string name : {"llama2", "tied", "biases"}) {
    SCOPED_TRACE(name);
    const Model folder = LoadModel(TinyDecoderPath(name));
    const Model file = LoadModel(TinyDecoderPath(name + ".gguf"));
    ASSERT_EQ(file.tensors.size(), folder.tensors.size());
    for (const auto& [tensor_name, tensor] : folder.tensors)
      EXPECT_TRUE(at::equal(tensor, file.tensors.at(tensor_name))) << tensor_name;
    // The rotation comes from other numbers in the two.
    ASSERT_EQ(file.spec.rotary.frequencies.size(), folder.spec.rotary.frequencies.size());
    for (size_t j = 0; j < folder.spec.rotary.frequencies.size(); ++j) {
      const float golden = folder.spec.rotary.frequencies[j];
      EXPECT_NEAR(file.spec.rotary.frequencies[j], golden, 1e-6 * golden);
    }
    for (const char* key :
         {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
          "head_dim", "intermediate_size", "vocab_size", "tie_word_embeddings", "rope_theta",
          "max_position_embeddings", "model_type", "hidden_act"}) {
      EXPECT_EQ(file.config.at(key), folder.config.at(key)) << key;
    }
    EXPECT_FALSE(file.config.contains("coppice"));
  }
}

// A layer without heads, and one whose groups have fewer query heads than the others'.
TEST(TinyDecoder, DeciHasItsOwnSizesInEveryLayer) {
  const Model model = LoadModel(TinyDecoderPath("deci.gguf"));
  std::vector<int64_t> groups, queries, channels;
  for (const SubLayerSpec& sub : model.spec.sub_layers) {
    (sub.kind == UnitKind::kHead ? groups : channels).push_back(sub.units);
    if (sub.kind == UnitKind::kHead) queries.push_back(sub.queries);
  }
  EXPECT_EQ(groups, (std::vector<int64_t>{2, 1, 0, 2}));
  EXPECT_EQ(queries, (std::vector<int64_t>{2, 1, 1, 1}));
  EXPECT_EQ(channels, (std::vector<int64_t>{48, 16, 33, 20}));
  EXPECT_EQ(model.config.at("coppice").at("queries").dump(), "[2,1,1,1]");
}

// A model's spec with some keys of its config changed and some tensors replaced; undefined tensors
// are removed.
ModelSpec SpecWith(const std::string& name, const json& changes,
                   const std::map<std::string, at::Tensor>& tensors = {}) {
  Model model = LoadModel(TinyDecoderPath(name));
  for (const auto& [key, value] : changes.items()) model.config[key] = value;
  for (const auto& [key, tensor] : tensors) {
    if (tensor.defined()) {
      model.tensors[key] = tensor;
    } else {
      model.tensors.erase(key);
    }
  }
  return MakeSpec(model.config, &model.tensors, "model");
}

TEST(DecoderSpec, RefusesWhatTheForwardPassDoesNot) {
  struct Case {
    json changes;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {{{"hidden_act", "gelu"}}, {"\"hidden_act\"", "silu", "gelu"}},
      {{{"num_key_value_heads", 3}}, {"head counts", "4, 3, 8"}},
      {{{"head_dim", 7}}, {"even head_dim", "7"}},
      {{{"num_attention_heads", 0}}, {"\"num_attention_heads\""}},
      {{{"vocab_size", "many"}}, {"\"vocab_size\"", "many"}},
      {{{"intermediate_size", 40}}, {"gate_proj.weight", "[40, 32]", "[48, 32]"}},
      {{{"num_key_value_heads", 1}}, {"k_proj.weight", "[8, 32]", "[16, 32]"}},
      {{{"tie_word_embeddings", "yes"}}, {"\"tie_word_embeddings\""}},
      {{{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}}}, {"rotary", "yarn"}},
      {{{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}, {"rotary", "dynamic"}},
      {{{"rope_scaling", {{"rope_type", "linear"}, {"factor", 0.0}}}}, {"rotary", "factor 0"}},
      {{{"rms_norm_eps", -1.0}}, {"\"rms_norm_eps\"", "-1"}},
      {{{"rope_theta", -1.0}}, {"rotary", "theta -1"}},
      {{{"rope_scaling", "linear"}}, {"\"rope_scaling\""}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.changes.dump());
    std::vector<std::string> parts = one.parts;
    parts.emplace_back("model");
    ExpectError(ExitCode::kBadInput, parts, [&] { SpecWith("llama3", one.changes); });
  }
}

TEST(DecoderSpec, ChecksEveryTensor) {
  const std::string layer = "model.layers.1.";
  const Model model = LoadModel(TinyDecoderPath("biases"));
  for (const auto& named : model.tensors) {
    const std::string& name = named.first;
    if (name.ends_with(".bias")) continue;  // may be absent
    SCOPED_TRACE(name);
    ExpectError(ExitCode::kBadInput, {"model", name}, [&] {
      SpecWith("biases", json::object(), {{name, at::Tensor()}});
    });
    ExpectError(ExitCode::kBadInput, {"model", name}, [&] {
      SpecWith("biases", json::object(), {{name, at::zeros({3, 5})}});
    });
  }
  ExpectError(ExitCode::kBadInput, {"q_proj.bias"}, [&] {
    SpecWith("biases", json::object(), {{layer + "self_attn.q_proj.bias", at::zeros({31})}});
  });
  ExpectError(ExitCode::kBadInput, {layer + "self_attn.q_norm.weight"}, [&] {
    SpecWith("biases", json::object(), {{layer + "self_attn.q_norm.weight", at::zeros({8})}});
  });
  // Some files hold the tied matrix twice, and old ones the frequencies.
  EXPECT_NO_THROW(SpecWith("tied", json::object(),
                           {{"lm_head.weight", at::zeros({283, 32})},
                            {"model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({4})}}));
}

// transformers 5 has rope_theta and rope_scaling in one object.
TEST(RotaryFrequencies, AreTheSameFromBothForms) {
  const nlohmann::ordered_json old = {{"rope_theta", 500000.0},
                                      {"rope_scaling",
                                       {{"rope_type", "llama3"},
                                        {"factor", 8.0},
                                        {"low_freq_factor", 1.0},
                                        {"high_freq_factor", 4.0},
                                        {"original_max_position_embeddings", 8192}}}};
  nlohmann::ordered_json parameters = old["rope_scaling"];
  parameters["rope_theta"] = 500000.0;
  const nlohmann::ordered_json both = {{"rope_parameters", parameters}};
  EXPECT_EQ(RotaryFrequencies(old, 64, "config"), RotaryFrequencies(both, 64, "config"));
  const std::vector<float> plain = RotaryFrequencies({{"rope_theta", 100.0}}, 4, "config");
  EXPECT_EQ(plain, (std::vector<float>{1, 0.1f}));
  EXPECT_EQ(RotaryFrequencies({{"rope_scaling", nullptr}}, 2, "config"), (std::vector<float>{1}));
}

}  // namespace
}  // namespace coppice
