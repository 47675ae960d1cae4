// GGUF files of tiny decoders with one thing changed: each is refused in one line that names the
// file and the thing, or is another good model; never anything else.
#include "model/llama_gguf.h"

#include <gtest/gtest.h>

#include "load/gguf_writer.h"
#include "model/decoder_testing.h"

namespace coppice {
namespace {

// What a file is made of.
struct Parts {
  explicit Parts(const std::string& name) {
    const GgufFile file = GgufFile::Open(TinyDecoderPath(name));
    metadata = file.metadata();
    for (const GgufTensorInfo& info : file.tensors())
      tensors.push_back({info.name, file.Get(info.name), GgmlType::kF32});
  }
  void Set(const std::string& key, const GgufValue& value) {
    for (auto& [name, old] : metadata) {
      if (name != key) continue;
      old = value;
      return;
    }
    metadata.emplace_back(key, value);
  }
  void Remove(const std::string& key) {
    std::erase_if(metadata, [&](const auto& pair) { return pair.first == key; });
  }
  GgufTensor& Tensor(const std::string& name) {
    for (GgufTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw InternalError("no tensor " + name);
  }
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;
};

class LlamaGguf : public testing::Test {
 protected:
  Model Load(const Parts& parts) const {
    const auto path = folder_.path() / "model.gguf";
    std::filesystem::remove(path);
    WriteGguf(path, parts.metadata, parts.tensors);
    return LoadModel(path);
  }
  void ExpectRefused(const Parts& parts, std::vector<std::string> wanted) const {
    wanted.emplace_back("model.gguf");
    ExpectError(ExitCode::kBadInput, wanted, [&] { Load(parts); });
  }
  TempFolder folder_;
};

TEST_F(LlamaGguf, RefusesWhatItDoesNotKnow) {
  Parts parts("llama2.gguf");
  parts.Set("general.architecture", GgufValue::From<std::string>("qwen2"));
  ExpectRefused(parts, {"general.architecture", "llama or deci", "qwen2"});
  parts = Parts("llama2.gguf");
  parts.Set("llama.rope.scaling.type", GgufValue::From<std::string>("yarn"));
  ExpectRefused(parts, {"llama.rope.scaling.type", "yarn"});
  parts = Parts("llama2.gguf");
  parts.Set("llama.rope.dimension_count", GgufValue::From(uint32_t{4}));
  ExpectRefused(parts, {"llama.rope.dimension_count", "8", "4"});
  parts = Parts("llama2.gguf");
  parts.Set("llama.attention.value_length", GgufValue::From(uint32_t{16}));
  ExpectRefused(parts, {"keys and values", "8", "16"});
  parts = Parts("llama2.gguf");
  parts.tensors.push_back({"blk.0.attn_q_norm.weight", at::ones({8}), GgmlType::kF32});
  ExpectRefused(parts, {"blk.0.attn_q_norm.weight"});
  parts = Parts("tied.gguf");
  parts.Tensor("rope_freqs.weight").tensor = at::tensor({1.0f, 1.0f, 2.0f, 4.0f});
  ExpectRefused(parts, {"rope_freqs.weight"});
}

TEST_F(LlamaGguf, ReadsLinearScaling) {
  Parts parts("llama2.gguf");
  parts.Set("llama.rope.scaling.type", GgufValue::From<std::string>("linear"));
  parts.Set("llama.rope.scaling.factor", GgufValue::From(4.0f));
  const Model model = Load(parts);
  const Model plain = LoadModel(TinyDecoderPath("llama2"));
  for (size_t j = 0; j < 4; ++j)
    EXPECT_EQ(model.spec.rotary.frequencies[j], plain.spec.rotary.frequencies[j] / 4);
}

TEST_F(LlamaGguf, RefusesHeadCountsThatDoNotFitTogether) {
  Parts parts("deci.gguf");
  using List = std::vector<int32_t>;
  parts.Set("deci.attention.head_count", GgufValue::From(List{4, 1, 2, 2}));
  ExpectRefused(parts, {"layer 2", "2 and 0"});
  parts.Set("deci.attention.head_count", GgufValue::From(List{3, 1, 0, 2}));
  ExpectRefused(parts, {"layer 0", "3 and 2"});
  parts.Set("deci.attention.head_count", GgufValue::From(List{4, 1, 0}));
  ExpectRefused(parts, {"deci.attention.head_count", "4", "3"});
  parts.Set("deci.attention.head_count", GgufValue::From(List{4, 1, 0, -2}));
  ExpectRefused(parts, {"deci.attention.head_count", "-2"});
}

TEST_F(LlamaGguf, MissesEveryTensorThatIsNotThere) {
  for (const std::string name : {"llama2.gguf", "deci.gguf", "biases.gguf"}) {
    const Parts whole(name);
    for (size_t i = 0; i < whole.tensors.size(); ++i) {
      const std::string& tensor = whole.tensors[i].name;
      SCOPED_TRACE(tensor);
      Parts parts = whole;
      parts.tensors.erase(parts.tensors.begin() + static_cast<int64_t>(i));
      if (tensor.ends_with(".bias") || tensor == "output.weight") {  // none, or tied
        EXPECT_NO_THROW(Load(parts));
      } else {
        ExpectRefused(parts, {"missing"});
      }
      parts = whole;
      parts.tensors[i].tensor = at::zeros({3, 5});
      ExpectRefused(parts, {});
      parts.tensors[i].tensor = whole.tensors[i].tensor.flatten();
      if (whole.tensors[i].tensor.dim() > 1) ExpectRefused(parts, {});
    }
  }
}

// Any value under any key: a model that can be run, or a refusal.
TEST_F(LlamaGguf, HoldsOutAgainstEveryKeysOtherValues) {
  const std::vector<GgufValue> values = {GgufValue::From(uint32_t{0}),
                                         GgufValue::From(uint32_t{1}),
                                         GgufValue::From(uint32_t{2}),
                                         GgufValue::From(uint32_t{7}),
                                         GgufValue::From(uint32_t{16}),
                                         GgufValue::From(uint32_t{4000000000U}),
                                         GgufValue::From(int32_t{-1}),
                                         GgufValue::From(uint64_t{1} << 63),
                                         GgufValue::From(0.0f),
                                         GgufValue::From(-1.0f),
                                         GgufValue::From(std::numeric_limits<float>::quiet_NaN()),
                                         GgufValue::From(std::numeric_limits<float>::infinity()),
                                         GgufValue::From<std::string>("llama"),
                                         GgufValue::From(true),
                                         GgufValue::From(std::vector<int32_t>{}),
                                         GgufValue::From(std::vector<int32_t>{2, 2}),
                                         GgufValue::From(std::vector<int32_t>{0, 0, 0, 0}),
                                         GgufValue::From(std::vector<int32_t>{7, 7, 7, 7}),
                                         GgufValue::From(std::vector<std::string>{"2", "2"})};
  int64_t refused = 0, loaded = 0;
  for (const std::string name : {"tied.gguf", "deci.gguf"}) {
    const Parts whole(name);
    for (const auto& [key, old] : whole.metadata) {
      // The twin shares all code but that of its rotary factors.
      const bool wanted = name == "tied.gguf"
                              ? key.starts_with("llama.rope.")
                              : key.starts_with("deci.") || key.starts_with("general.");
      if (!wanted) continue;
      for (const GgufValue& value : values) {
        SCOPED_TRACE(key + ": " + value.Describe());
        Parts parts = whole;
        parts.Set(key, value);
        try {
          const Model model = Load(parts);
          const Batch batch = GoldenBatch({{{"ids", {1, 2, 3}}}}, 0);
          EXPECT_TRUE(Outputs(Bind(model, {}), batch).isfinite().all().item<bool>());
          ++loaded;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
          ++refused;
        }
      }
      Parts parts = whole;
      parts.Remove(key);
      try {
        Load(parts);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
      }
    }
  }
  EXPECT_GT(refused, 150);
  EXPECT_GT(loaded, 30);
}

}  // namespace
}  // namespace coppice
