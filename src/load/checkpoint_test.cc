#include "load/checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/error.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / fmt::format("coppice-{}-{}", info->name(), ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    Put("config.json", R"({"z": 1, "a": {"y": 2, "b": 3}})");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  void PutWeights(const std::string& name, const std::vector<std::string>& tensors) const {
    std::map<std::string, at::Tensor> map;
    for (const std::string& tensor : tensors) {
      map.emplace(tensor, at::full({2}, static_cast<double>(name.size())));
    }
    WriteSafetensors(folder_ / name, map);
  }
  void PutIndex(const std::string& weight_map) const {
    Put("model.safetensors.index.json",
        R"({"metadata":{"total_size":16},"weight_map":)" + weight_map + "}");
  }
  void ExpectRefused(const std::vector<std::string>& parts) const {
    try {
      LoadCheckpoint(folder_);
      ADD_FAILURE() << "loaded; wanted: " << parts.at(0);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      for (const std::string& part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
            << "wanted: " << part << "\ngot: " << error.what();
      }
    }
  }
  std::vector<std::string> Names(const std::vector<fs::path>& paths) const {
    std::vector<std::string> names;
    for (const fs::path& path : paths) {
      EXPECT_EQ(path.parent_path(), folder_);
      names.push_back(path.filename());
    }
    return names;
  }
  using Strings = std::vector<std::string>;

  fs::path folder_;
};

TEST_F(CheckpointTest, LoadsOneFile) {
  PutWeights("model.safetensors", {"x", "y"});
  const Checkpoint checkpoint = LoadCheckpoint(folder_);
  EXPECT_EQ(checkpoint.folder, folder_);
  EXPECT_EQ(checkpoint.config.dump(), R"({"z":1,"a":{"y":2,"b":3}})");  // key order kept
  EXPECT_EQ(checkpoint.tensors.size(), 2u);
  EXPECT_TRUE(at::equal(checkpoint.tensors.at("y"), at::full({2}, 17.0)));
  EXPECT_EQ(Names(checkpoint.weight_files), Strings{"model.safetensors"});
  EXPECT_TRUE(checkpoint.passthrough.empty());
}

TEST_F(CheckpointTest, OneFileComesBeforeAnIndex) {
  PutWeights("model.safetensors", {"x"});
  PutIndex("[]");
  EXPECT_EQ(LoadCheckpoint(folder_).tensors.size(), 1u);
}

TEST_F(CheckpointTest, LoadsShardsThroughLinks) {
  PutWeights("blob", {"x"});
  fs::create_symlink("blob", folder_ / "m-2.safetensors");
  PutWeights("m-1.safetensors", {"y", "z"});
  PutIndex(R"({"x":"m-2.safetensors","y":"m-1.safetensors","z":"m-1.safetensors"})");
  const Checkpoint checkpoint = LoadCheckpoint(folder_);
  EXPECT_EQ(checkpoint.tensors.size(), 3u);
  EXPECT_TRUE(at::equal(checkpoint.tensors.at("x"), at::full({2}, 4.0)));
  EXPECT_EQ(Names(checkpoint.weight_files), (Strings{"m-1.safetensors", "m-2.safetensors"}));
}

TEST_F(CheckpointTest, TheIndexDecidesBetweenTwoCopies) {
  PutWeights("1.safetensors", {"x", "y"});
  PutWeights("long.safetensors", {"y", "z"});
  PutIndex(R"({"x":"1.safetensors","y":"long.safetensors","z":"long.safetensors"})");
  EXPECT_TRUE(at::equal(LoadCheckpoint(folder_).tensors.at("y"), at::full({2}, 16.0)));
  PutIndex(R"({"x":"1.safetensors","y":"1.safetensors","z":"long.safetensors"})");
  EXPECT_TRUE(at::equal(LoadCheckpoint(folder_).tensors.at("y"), at::full({2}, 13.0)));
}

TEST_F(CheckpointTest, RefusesAnIndexAndShardsThatDisagree) {
  PutWeights("1.safetensors", {"x", "stray"});
  PutIndex(R"({"x":"1.safetensors"})");
  ExpectRefused({"1.safetensors: tensor \"stray\" is not in the index", "fetch both again"});
  PutIndex(R"({"x":"1.safetensors","stray":"1.safetensors","lost":"1.safetensors"})");
  ExpectRefused({"index.json: tensor \"lost\" is not in its shard", "1.safetensors"});
  PutIndex(R"({"x":"1.safetensors","stray":"1.safetensors","lost":"2.safetensors"})");
  ExpectRefused({"a shard is missing", "expected 2.safetensors"});
  fs::create_directory(folder_ / "2.safetensors");
  ExpectRefused({"a shard is missing", "expected 2.safetensors"});
}

TEST_F(CheckpointTest, RefusesShardNamesThatLeaveTheFolder) {
  fs::create_directory(folder_ / "sub");
  PutWeights("sub/1.safetensors", {"x"});
  const std::string absolute = (folder_ / "sub" / "1.safetensors").string();
  for (const std::string& bad :
       {std::string("sub/1.safetensors"), absolute, std::string("../1.safetensors"),
        std::string(".."), std::string(""), std::string("..safetensors"),
        std::string("a\\\\b.safetensors"), std::string("a\\u0000.safetensors"),
        std::string("a\\n.safetensors"), std::string("config.json")}) {
    PutIndex("{\"x\":\"" + bad + "\"}");
    ExpectRefused({"index.json: unsafe file name for tensor \"x\""});
  }
}

TEST_F(CheckpointTest, RefusesABadIndex) {
  const auto index = [this](const std::string& text) { Put("model.safetensors.index.json", text); };
  index("{}");
  ExpectRefused({"bad \"weight_map\"", "found none"});
  index("[]");
  ExpectRefused({"the index is not a JSON object"});
  index("");
  ExpectRefused({"the index is not valid JSON"});
  PutIndex("{}");
  ExpectRefused({"bad \"weight_map\"", "an empty one"});
  PutIndex("[1]");
  ExpectRefused({"bad \"weight_map\"", "found array"});
  PutIndex(R"({"x":1})");
  ExpectRefused({"bad file name for tensor \"x\"", "found number"});
  PutIndex(R"({"x":"1.safetensors","x":"2.safetensors"})");
  ExpectRefused({"the index holds a key twice", "\"x\" again inside \"weight_map\""});
}

TEST_F(CheckpointTest, RefusesABadConfig) {
  PutWeights("model.safetensors", {"x"});
  Put("config.json", "[1]");
  ExpectRefused({"config.json: the config is not a JSON object", "found array"});
  Put("config.json", "{\"a\":");
  ExpectRefused({"config.json: the config is not valid JSON"});
  Put("config.json", "{\"a\":1,\"a\":2}");
  ExpectRefused({"config.json: the config holds a key twice", "\"a\" again"});
  Put("config.json", "{\"a\":\"\xff\"}");
  ExpectRefused({"config.json: the config is not valid UTF-8"});
  Put("config.json", "{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}");
  ExpectRefused({"nested too deeply", "at most 64"});
  Put("config.json", "{}" + std::string(16 << 20, ' '));
  ExpectRefused({"the file is too large", "at most 16777216 bytes"});
}

TEST_F(CheckpointTest, RefusesFoldersWithoutAModel) {
  ExpectRefused({"no weights", "expected model.safetensors or model.safetensors.index.json"});
  Put("pytorch_model.bin", "pickle");
  ExpectRefused({"no weights", "found pytorch_model.bin", "safe_serialization=True"});
  PutWeights("other.safetensors", {"x"});
  ExpectRefused({"found other.safetensors", "rename a lone file to model.safetensors"});
  fs::remove(folder_ / "config.json");
  ExpectRefused({"the folder has no config.json", "give a Hugging Face folder"});
  fs::remove_all(folder_);
  ExpectRefused({"no such folder", "give a Hugging Face folder"});
  std::ofstream(folder_) << "a file";
  ExpectRefused({"not a folder"});
}

TEST_F(CheckpointTest, PassesOnEverythingButWeights) {
  PutWeights("model.safetensors", {"x"});
  PutWeights("other.safetensors", {"x"});
  for (const char* name :
       {"vocab.txt", "tokenizer.json", "generation_config.json", "chat_template.jinja",
        "spiece.model", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin",
        "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack", "model.onnx",
        "model.gguf", "consolidated.00.pth", "coppice.json", "report.html",
        "old.safetensors.index.json", ".gitattributes"}) {
    Put(name, "text");
  }
  fs::create_directory(folder_ / "onnx");
  fs::create_symlink("vocab.txt", folder_ / "merges.txt");
  fs::create_symlink("nowhere", folder_ / "broken.txt");
  fs::create_directory_symlink("onnx", folder_ / "linked");
  EXPECT_EQ(Names(LoadCheckpoint(folder_).passthrough),
            (Strings{"chat_template.jinja", "generation_config.json", "merges.txt", "spiece.model",
                     "tokenizer.json", "vocab.txt"}));
}

TEST_F(CheckpointTest, LoadsRealModels) {
  const char* given = std::getenv("COPPICE_MODELS");
  const fs::path models =
      given ? fs::path(given) : fs::path(COPPICE_SOURCE_DIR) / "build" / "models";
  if (!fs::exists(models / "minilm-sst2")) GTEST_SKIP() << "needs the models (COPPICE_MODELS)";
  for (const char* name : {"minilm-sst2", "mpnet-squad", "bertbase-agnews"}) {
    const Checkpoint checkpoint = LoadCheckpoint(models / name);
    EXPECT_TRUE(checkpoint.config.contains("model_type")) << name;
    EXPECT_GT(checkpoint.tensors.size(), 90u) << name;
    for (const auto& [tensor_name, tensor] : checkpoint.tensors) {
      EXPECT_TRUE(at::isfinite(tensor.to(at::kFloat)).all().item<bool>())
          << name << " " << tensor_name;
    }
    const bool tokenizer =
        std::any_of(checkpoint.passthrough.begin(), checkpoint.passthrough.end(),
                    [](const fs::path& path) { return path.filename() == "tokenizer.json"; });
    EXPECT_TRUE(tokenizer) << name;
  }
}

}  // namespace
}  // namespace coppice
