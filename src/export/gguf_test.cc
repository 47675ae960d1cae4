// Language models written as GGUF and read again: bit for bit, whatever their shape; what stock
// programs cannot run is refused.
#include "export/gguf.h"

#include <gtest/gtest.h>

#include "load/gguf.h"
#include "load/gguf_writer.h"
#include "model/decoder_testing.h"
#include "model/llama_gguf.h"
#include "shrink/shrink.h"
#include "tune/tune.h"

namespace coppice {
namespace {

const std::vector<std::string> kFiles = {"llama2.gguf", "tied.gguf", "biases.gguf", "deci.gguf"};

// The file and what is read from it.
struct Written {
  Written(const Model& written, GgmlType type) {
    WriteGgufModel(written, type, folder.path());
    model = LoadModel(folder.path());
  }
  GgufFile File() const { return GgufFile::Open(folder.path() / "model.gguf"); }
  TempFolder folder;
  Model model;
};

std::string Architecture(const GgufFile& file) {
  return file.Require<std::string>("general.architecture");
}

// The plan that keeps the first units: so many groups and channels of each layer.
Plan FirstUnits(const Model& model, const std::vector<int64_t>& counts) {
  Plan plan = FullPlan(UnitCounts(model.spec));
  for (size_t i = 0; i < counts.size(); ++i) plan.kept[i].resize(static_cast<size_t>(counts[i]));
  return plan;
}

TEST(GgufModel, InF32IsTheSameModel) {
  for (const std::string& name : kFiles) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const Written written(tiny.model, GgmlType::kF32);
    ASSERT_EQ(written.model.tensors.size(), tiny.model.tensors.size());
    for (const auto& [tensor_name, tensor] : tiny.model.tensors)
      EXPECT_TRUE(at::equal(tensor, written.model.tensors.at(tensor_name))) << tensor_name;
    EXPECT_EQ(written.model.config, tiny.model.config);
    EXPECT_EQ(MaxDifference(tiny.Logits(written.model), tiny.Logits(tiny.model)), 0);
    EXPECT_EQ(Architecture(written.File()), name == "deci.gguf" ? "deci" : "llama");
    // What does not depend on sizes is passed on as it was.
    const GgufFile original = GgufFile::Open(TinyDecoderPath(name));
    const GgufFile file = written.File();
    for (const auto& [key, value] : original.metadata()) {
      const GgufValue* found = file.FindValue(key);
      ASSERT_NE(found, nullptr) << key;
      if (key.starts_with("tokenizer.") || key == "general.name") {
        EXPECT_EQ(*found, value) << key;
      }
    }
    for (const GgufTensorInfo& info : original.tensors()) {
      ASSERT_NE(file.FindTensor(info.name), nullptr) << info.name;
      EXPECT_TRUE(at::allclose(file.Get(info.name), original.Get(info.name), 1e-6, 0)) << info.name;
    }
    EXPECT_EQ(file.tensors().size(), original.tensors().size());
  }
}

TEST(GgufModel, InOtherTypesIsClose) {
  struct Case {
    GgmlType type;
    double tolerance;
    int64_t file_type;
  };
  for (const Case& one :
       {Case{GgmlType::kF16, 0.003, 1}, {GgmlType::kBF16, 0.03, 32}, {GgmlType::kQ8_0, 0.1, 7}}) {
    for (const std::string name : {"llama2.gguf", "deci.gguf"}) {
      SCOPED_TRACE(name);
      const TinyDecoder tiny(name);
      const Written written(tiny.model, one.type);
      const at::Tensor change = tiny.Logits(written.model) - tiny.Logits(tiny.model);
      const double difference = change.square().mean().sqrt().item<double>();
      EXPECT_LT(difference, one.tolerance);
      EXPECT_GT(difference, 0);
      const GgufFile file = written.File();
      EXPECT_EQ(file.Require<int64_t>("general.file_type"), one.file_type);
      for (const GgufTensorInfo& info : file.tensors()) {
        const bool blocks = info.shape.back() % 32 == 0 || one.type != GgmlType::kQ8_0;
        const GgmlType wide = blocks ? one.type : GgmlType::kF16;
        EXPECT_EQ(info.type, info.shape.size() < 2 ? GgmlType::kF32 : wide) << info.name;
      }
    }
  }
}

TEST(GgufModel, OfTheSameShapeEverywhereKeepsTheArchitecture) {
  for (const std::string name : {"llama2.gguf", "tied.gguf", "biases.gguf"}) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const Model uniform = Shrink(tiny.model, FirstUnits(tiny.model, {1, 20, 1, 20}));
    const Written same(uniform, GgmlType::kF32);
    EXPECT_EQ(Architecture(same.File()), "llama");
    EXPECT_EQ(same.File().Require<int64_t>("llama.feed_forward_length"), 20);
    EXPECT_EQ(same.File().Require<int64_t>("llama.attention.head_count_kv"), 1);
    EXPECT_EQ(same.File().Require<int64_t>("llama.attention.key_length"), 8);
    EXPECT_EQ(MaxDifference(tiny.Logits(same.model), tiny.Logits(uniform)), 0);
    EXPECT_EQ(same.model.config, uniform.config);

    const Model uneven = Shrink(tiny.model, FirstUnits(tiny.model, {1, 20, 2, 7}));
    const Written other(uneven, GgmlType::kF32);
    EXPECT_EQ(Architecture(other.File()), "deci");
    EXPECT_EQ(other.File().Require<std::vector<int64_t>>("deci.feed_forward_length"),
              (std::vector<int64_t>{20, 7}));
    EXPECT_EQ(other.File().Require<std::vector<int64_t>>("deci.attention.head_count_kv"),
              (std::vector<int64_t>{1, 2}));
    EXPECT_EQ(other.File().Require<int64_t>("deci.attention.value_length"), 8);
    EXPECT_EQ(other.File().Require<int64_t>("deci.context_length"), 64);
    EXPECT_EQ(other.File().FindValue("llama.context_length"), nullptr);
    EXPECT_EQ(MaxDifference(tiny.Logits(other.model), tiny.Logits(uneven)), 0);
    EXPECT_EQ(UnitCounts(other.model.spec), UnitCounts(uneven.spec));
  }
}

// In the middle: a layer without attention, one without anything. They have no tensors in the file.
TEST(GgufModel, MayHaveEmptyLayersInTheMiddle) {
  const TinyDecoder tiny("deci.gguf");
  const Model model = Shrink(tiny.model, FirstUnits(tiny.model, {1, 5, 0, 0, 0, 8, 2, 3}));
  const Written written(model, GgmlType::kF32);
  EXPECT_EQ(UnitCounts(written.model.spec), (std::vector<int64_t>{1, 5, 0, 0, 0, 8, 2, 3}));
  EXPECT_EQ(MaxDifference(tiny.Logits(written.model), tiny.Logits(model)), 0);
  const GgufFile file = written.File();
  for (const GgufTensorInfo& info : file.tensors()) {
    EXPECT_FALSE(info.name.starts_with("blk.1.")) << info.name;
    EXPECT_FALSE(info.name.starts_with("blk.2.attn")) << info.name;
  }
}

TEST(GgufModel, HoldsABiasThatARepairAdded) {
  const TinyDecoder tiny("tied.gguf");
  const Model smaller = Shrink(tiny.model, FirstUnits(tiny.model, {1, 20, 2, 7}));
  Random random(3);
  std::map<std::string, at::Tensor> biases;
  for (const SubLayerSpec& sub : smaller.spec.sub_layers)
    biases[sub.output + ".bias"] = RandomTensor({32}, &random);
  const Model repaired = WithTensors(smaller, biases);
  const Written written(repaired, GgmlType::kF16);
  EXPECT_EQ(written.File().Get("blk.1.ffn_down.bias").scalar_type(), at::kFloat);
  EXPECT_LT(MaxDifference(tiny.Logits(written.model), tiny.Logits(repaired)), 0.02);
  EXPECT_EQ(written.model.config["mlp_bias"], true);
}

TEST(GgufModel, RefusesWhatStockProgramsCannotRun) {
  const TinyDecoder tiny("deci.gguf");
  const auto write = [&](const std::vector<int64_t>& counts) {
    const TempFolder folder;
    WriteGgufModel(Shrink(tiny.model, FirstUnits(tiny.model, counts)), GgmlType::kF32,
                   folder.path());
  };
  EXPECT_NO_THROW(write({1, 1, 1, 1, 0, 0, 1, 1}));
  ExpectError(ExitCode::kUsage, {"layer 0", "attention", "--to gguf"}, [&] {
    write({0, 5, 1, 1, 0, 1, 1, 1});
  });
  ExpectError(ExitCode::kUsage, {"layer 1", "channels", "--to gguf"}, [&] {
    write({1, 5, 1, 0, 0, 1, 1, 1});
  });
  ExpectError(ExitCode::kUsage, {"layer 3", "channels"}, [&] { write({1, 5, 1, 1, 0, 1, 1, 0}); });
  ExpectError(ExitCode::kUsage, {"layer 3", "channels"}, [&] { write({1, 5, 1, 1, 0, 1, 0, 0}); });
}

// Folders become what llama.cpp's converter makes of them.
TEST(GgufFromFolder, IsTheConvertersFile) {
  for (const std::string name : {"llama2", "tied", "biases"}) {
    SCOPED_TRACE(name);
    const Model model = LoadModel(TinyDecoderPath(name));
    const TinyDecoder twin(name + ".gguf");
    const Written written(model, GgmlType::kF32);
    const GgufFile ours = written.File(), theirs = GgufFile::Open(TinyDecoderPath(name + ".gguf"));
    for (const GgufTensorInfo& info : theirs.tensors())
      EXPECT_TRUE(at::allclose(ours.Get(info.name), theirs.Get(info.name), 1e-6, 0)) << info.name;
    EXPECT_EQ(ours.tensors().size(), theirs.tensors().size());
    for (const auto& [key, value] : theirs.metadata()) {
      if (key == "general.name" || key == "tokenizer.ggml.bos_token_id") continue;
      const GgufValue* const found = ours.FindValue(key);
      ASSERT_NE(found, nullptr) << key;
      EXPECT_EQ(found->Describe(), value.Describe()) << key;
      EXPECT_EQ(*found, value) << key;
    }
    EXPECT_EQ(MaxDifference(twin.Logits(written.model), twin.Logits(twin.model)), 0);
  }
}

TEST(GgufFromFolder, IsTheSameModelInEveryShape) {
  for (const std::string& name : TinyDecoderNames()) {
    if (name.ends_with(".gguf")) continue;
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    std::vector<int64_t> uniform, uneven;
    for (size_t i = 0; i < tiny.model.spec.sub_layers.size(); ++i) {
      uniform.push_back(i % 2 == 0 ? 1 : 20);
      uneven.push_back(i % 2 == 0 ? (i == 0 ? 2 : 1) : static_cast<int64_t>(30 - 4 * i));
    }
    EXPECT_LT(MaxDifference(tiny.Logits(Written(tiny.model, GgmlType::kF32).model),
                            tiny.Logits(tiny.model)),
              1e-5);
    for (const std::vector<int64_t>& counts : {uniform, uneven}) {
      const Model smaller = Shrink(tiny.model, FirstUnits(tiny.model, counts));
      const Written written(smaller, GgmlType::kF32);
      EXPECT_EQ(Architecture(written.File()), counts == uniform ? "llama" : "deci");
      EXPECT_EQ(UnitCounts(written.model.spec), counts);
      EXPECT_LT(MaxDifference(tiny.Logits(written.model), tiny.Logits(smaller)), 1e-5);
    }
  }
}

// A folder with other files beside the model.
class GgufFromFolderTest : public testing::Test {
 protected:
  GgufFromFolderTest() {
    for (const auto& entry : std::filesystem::directory_iterator(TinyDecoderPath("llama2")))
      std::filesystem::copy_file(entry.path(), folder_.path() / entry.path().filename());
  }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::remove(folder_.path() / name);
    WriteFile(folder_.path() / name, text);
  }
  void ExpectRefused(const std::vector<std::string>& parts) {
    ExpectError(ExitCode::kBadInput, parts,
                [&] { Written(LoadModel(folder_.path()), GgmlType::kF32); });
  }
  TempFolder folder_;
};

TEST_F(GgufFromFolderTest, TakesSpecialTokensAndChatTemplate) {
  Write("tokenizer_config.json",
        R"({"eos_token": {"content": "<|im_end|>"}, "bos_token": "<|im_start|>", "pad_token": null,
            "unk_token": "none of these", "chat_template": "{{ messages }}"})");
  {
    const Written written(LoadModel(folder_.path()), GgmlType::kF32);
    const GgufFile file = written.File();
    EXPECT_EQ(file.Require<int64_t>("tokenizer.ggml.bos_token_id"), 1);
    EXPECT_EQ(file.Require<int64_t>("tokenizer.ggml.eos_token_id"), 2);
    EXPECT_EQ(file.FindValue("tokenizer.ggml.padding_token_id"), nullptr);
    EXPECT_EQ(file.FindValue("tokenizer.ggml.unknown_token_id"), nullptr);
    EXPECT_EQ(file.Require<std::string>("tokenizer.chat_template"), "{{ messages }}");
    EXPECT_EQ(file.Require<bool>("tokenizer.ggml.add_bos_token"), false);
  }
  Write("chat_template.jinja", "{{ other }}");
  EXPECT_EQ(Written(LoadModel(folder_.path()), GgmlType::kF32)
                .File()
                .Require<std::string>("tokenizer.chat_template"),
            "{{ other }}");
}

TEST_F(GgufFromFolderTest, TakesTheVocabularyOfAFile) {
  std::filesystem::remove(folder_.path() / "tokenizer.json");
  const Model model = LoadModel(folder_.path());
  const TempFolder out;
  WriteGgufModel(model, GgmlType::kF32, out.path(), TinyDecoderPath("llama2.gguf"));
  const GgufFile file = GgufFile::Open(out.path() / "model.gguf");
  const GgufFile source = GgufFile::Open(TinyDecoderPath("llama2.gguf"));
  for (const auto& [key, value] : source.metadata()) {
    if (!key.starts_with("tokenizer.")) continue;
    ASSERT_NE(file.FindValue(key), nullptr) << key;
    EXPECT_EQ(*file.FindValue(key), value) << key;
  }
}

TEST_F(GgufFromFolderTest, FillsAVocabularyUp) {
  nlohmann::json tokenizer = ReadJson(folder_.path() / "tokenizer.json");
  auto& merges = tokenizer["model"]["merges"];
  const nlohmann::json last = merges.back();
  merges.erase(merges.size() - 1);
  tokenizer["model"]["vocab"].erase(last[0].get<std::string>() + last[1].get<std::string>());
  Write("tokenizer.json", tokenizer.dump());
  const Written written(LoadModel(folder_.path()), GgmlType::kF32);
  const auto tokens = written.File().Require<std::vector<std::string>>("tokenizer.ggml.tokens");
  EXPECT_EQ(tokens.size(), 283u);
  EXPECT_EQ(tokens.back(), "[PAD282]");
  EXPECT_EQ(written.File().Require<std::vector<int64_t>>("tokenizer.ggml.token_type").back(), 5);
}

TEST_F(GgufFromFolderTest, RefusesWhatDoesNotFit) {
  const Model model = LoadModel(folder_.path());
  const TempFolder out;
  const auto write = [&](const std::filesystem::path& vocabulary) {
    WriteGgufModel(model, GgmlType::kF32, out.path(), vocabulary);
  };
  ExpectError(ExitCode::kBadInput, {"none.gguf"}, [&] { write("none.gguf"); });
  ExpectError(ExitCode::kBadInput, {"config.json"}, [&] { write(folder_.path() / "config.json"); });
  const auto other = out.path() / "other.gguf";
  WriteGguf(other, {{"general.architecture", GgufValue::From<std::string>("llama")}}, {});
  ExpectError(ExitCode::kBadInput, {"other.gguf", "283 tokens", "none"}, [&] { write(other); });
  WriteGguf(other, {{"tokenizer.ggml.tokens", GgufValue::From(std::vector<std::string>{"a", "b"})}},
            {});
  ExpectError(ExitCode::kBadInput, {"other.gguf", "283 tokens", "2"}, [&] { write(other); });

  nlohmann::json tokenizer = ReadJson(folder_.path() / "tokenizer.json");
  tokenizer["model"]["vocab"]["more"] = 283;
  Write("tokenizer.json", tokenizer.dump());
  ExpectRefused({"tokenizer.json", "more tokens", "283", "284"});
  Write("tokenizer.json", "{");
  ExpectRefused({"tokenizer.json", "JSON"});
  std::filesystem::remove(folder_.path() / "tokenizer.json");
  ExpectRefused({"tokenizer.json", "--vocabulary"});
  ExpectError(ExitCode::kUsage, {"--to gguf", "classification"}, [&] {
    WriteGgufModel(LoadModel(TinyFolder("bert-classification")), GgmlType::kF32, out.path());
  });
}

TEST(GgufType, HasFourNames) {
  EXPECT_EQ(ParseGgufType("f32"), GgmlType::kF32);
  EXPECT_EQ(ParseGgufType("f16"), GgmlType::kF16);
  EXPECT_EQ(ParseGgufType("bf16"), GgmlType::kBF16);
  EXPECT_EQ(ParseGgufType("q8_0"), GgmlType::kQ8_0);
  for (const std::string name : {"", "F16", "q4_0"})
    ExpectError(ExitCode::kUsage, {"--gguf-type", "q8_0"}, [&] { ParseGgufType(name); });
}

}  // namespace
}  // namespace coppice
