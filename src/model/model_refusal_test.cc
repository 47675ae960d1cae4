// Folders whose config.json and tensors disagree, or that hold what cannot be pruned: each refused
// with the name of the key or tensor.
#include <gtest/gtest.h>

#include "load/safetensors.h"
#include "model/model_testing.h"

namespace coppice {
namespace {

using nlohmann::ordered_json;

// A copy of a tiny model to be spoiled.
class Copy {
 public:
  explicit Copy(const std::string& name)
      : config(ordered_json::parse(ReadFile(TinyFolder(name) / "config.json"))) {
    const SafetensorsFile file = SafetensorsFile::Open(TinyFolder(name) / "model.safetensors");
    for (const auto& [tensor, info] : file.tensors()) tensors[tensor] = file.Get(tensor);
  }
  Model Load() const {
    WriteFile(folder_.path() / "config.json", config.dump());
    WriteSafetensors(folder_.path() / "model.safetensors", tensors);
    return LoadModel(folder_.path());
  }
  void ExpectRefused(const std::vector<std::string>& parts) const {
    std::vector<std::string> all = parts;
    all.push_back(folder_.path().string());
    ExpectError(ExitCode::kBadInput, all, [this] { Load(); });
  }

  ordered_json config;
  std::map<std::string, at::Tensor> tensors;

 private:
  TempFolder folder_;
};

struct BadValue {
  std::string key;
  ordered_json value;
  std::vector<std::string> parts;
};

void ExpectAllRefused(const std::string& name, const std::vector<BadValue>& rows) {
  for (const BadValue& row : rows) {
    SCOPED_TRACE(row.key + " " + row.value.dump());
    Copy copy(name);
    copy.config[row.key] = row.value;
    copy.ExpectRefused(row.parts);
  }
}

TEST(ModelRefusal, WidthsInsideHeadsThatAreNotThere) {
  const auto with = [](const ordered_json& more) {
    ordered_json block = {{"version", 1}, {"heads", {4, 4}}, {"channels", {64, 64}}};
    block.update(more);
    return block;
  };
  const std::string value = "attention.self.value.weight";
  ExpectAllRefused(
      "bert-classification",
      {{"coppice", with({{"values", {8, 6}}}), {"layer.1." + value, "[24, 32]", "[32, 32]"}},
       {"coppice", with({{"values", {8, 9}}}), {"coppice.values", "2 integers from 0 to 8"}},
       {"coppice", with({{"values", {0, 8}}}), {"coppice.values", "2 integers from 1 to 8"}},
       {"coppice", with({{"values", {8}}}), {"coppice.values", "[8]"}},
       {"coppice", with({{"values", "all"}}), {"coppice.values"}},
       {"coppice", with({{"keys", {8, 4}}}), {"layer.1.attention.self.query.weight", "[16, 32]"}},
       {"coppice", with({{"pairs", {{0}, {1}}}}), {"coppice.pairs", "layer 0", "none"}},
       {"coppice", with({{"pairs", {{0, 0}, {1}}}}), {"coppice.pairs", "different"}},
       {"coppice", with({{"pairs", {{4}, {1}}}}), {"coppice.pairs", "0 to 3"}},
       {"coppice", with({{"pairs", 4}}), {"coppice.pairs"}}});
}

TEST(ModelRefusal, SizesThatTheTensorsDoNotHave) {
  EXPECT_NO_THROW(Copy("bert-classification").Load());
  ExpectAllRefused(
      "bert-classification",
      {{"intermediate_size",
        60,
        {"\"bert.encoder.layer.0.intermediate.dense.weight\"", "[60, 32]", "[64, 32]"}},
       {"hidden_size", 16, {"bert.embeddings.word_embeddings.weight", "[112, 16]", "[112, 32]"}},
       {"hidden_size", 30, {"\"hidden_size\" is not a multiple of \"num_attention_heads\""}},
       {"num_hidden_layers", 3, {"bert.encoder.layer.2.", "missing"}},
       {"num_hidden_layers", 1, {"bert.encoder.layer.1.", "not known"}},
       {"vocab_size", 111, {"bert.embeddings.word_embeddings.weight", "[111, 32]"}},
       {"max_position_embeddings", 32, {"bert.embeddings.position_embeddings.weight", "[32, 32]"}},
       {"type_vocab_size", 3, {"bert.embeddings.token_type_embeddings.weight", "[3, 32]"}}});
  ExpectAllRefused("mpnet-base", {{"relative_attention_num_buckets",
                                   16,
                                   {"encoder.relative_attention_bias.weight", "[16, 4]"}}});
  ExpectAllRefused("distilbert-base",
                   {{"hidden_dim", 31, {"transformer.layer.0.ffn.lin1.weight", "[31, 16]"}}});
}

TEST(ModelRefusal, ConfigValuesThatMakeNoSense) {
  ExpectAllRefused("bert-base",
                   {{"model_type", "t5", {"config.json", "\"t5\"", "bert, distilbert"}},
                    {"model_type", 3, {"model_type"}},
                    {"hidden_act", "swish", {"\"hidden_act\"", "swish", "gelu"}},
                    {"position_embedding_type",
                     "relative_key",
                     {"\"position_embedding_type\"", "absolute", "relative_key"}},
                    {"hidden_size", "16", {"\"hidden_size\"", "an integer from"}},
                    {"hidden_size", 16.0, {"\"hidden_size\"", "an integer from"}},
                    {"hidden_size", -16, {"\"hidden_size\"", "-16"}},
                    {"num_attention_heads", 0, {"\"num_attention_heads\"", "found 0"}},
                    {"num_hidden_layers", 1000000000, {"\"num_hidden_layers\"", "1000000000"}},
                    {"pad_token_id", 112, {"\"pad_token_id\"", "112"}}});
  for (const std::string key : {"model_type", "hidden_size", "vocab_size", "num_hidden_layers",
                                "num_attention_heads", "intermediate_size"}) {
    Copy copy("bert-base");
    copy.config.erase(key);
    copy.ExpectRefused({"\"" + key + "\"", "config.json"});
  }
}

TEST(ModelRefusal, SizesOfAPrunedModel) {
  const auto sizes = [](ordered_json heads, ordered_json channels) {
    return ordered_json{{"version", 1}, {"heads", heads}, {"channels", channels}};
  };
  ExpectAllRefused(
      "bert-base",
      {{"coppice", sizes({4, 3}, {32, 32}), {"encoder.layer.1.attention.self.query", "[12, 16]"}},
       {"coppice", sizes({4, 4}, {32, 0}), {"encoder.layer.1.intermediate.dense", "[0, 16]"}},
       {"coppice", sizes({4}, {32, 32}), {"coppice.heads", "2 integers from 0 to 4"}},
       {"coppice", sizes({4, 5}, {32, 32}), {"coppice.heads", "[4,5]"}},
       {"coppice", sizes({4, -1}, {32, 32}), {"coppice.heads"}},
       {"coppice", sizes({4, 4}, {32, 2.5}), {"coppice.channels"}},
       {"coppice", sizes({4, 4}, "32"), {"coppice.channels"}},
       {"coppice", true, {"coppice.heads"}}});
}

TEST(ModelRefusal, Heads) {
  ExpectAllRefused(
      "bert-classification",
      {{"architectures", {"BertForTokenClassification"}, {"BertForTokenClassification", "head"}},
       {"architectures", {"BertForMultipleChoice"}, {"BertForMultipleChoice"}}});
  ExpectAllRefused(
      "bert-base",
      {{"architectures", {"BertForSequenceClassification"}, {"head's tensors are missing"}},
       {"architectures", {"BertForQuestionAnswering"}, {"head's tensors are missing"}}});
}

TEST(ModelRefusal, Tensors) {
  const std::string query = "bert.encoder.layer.1.attention.self.query.weight";
  Copy extra("bert-classification");
  extra.tensors["bert.encoder.layer.0.adapter.down.weight"] = at::zeros({2, 32});
  extra.ExpectRefused({"\"bert.encoder.layer.0.adapter.down.weight\"", "not known"});

  Copy missing("bert-classification");
  missing.tensors.erase(query);
  missing.ExpectRefused({query, "missing", "[32, 32]"});

  Copy integers("bert-classification");
  integers.tensors[query] = at::zeros({32, 32}, at::kLong);
  integers.ExpectRefused({query, "dtype", "F32, F16 or BF16"});

  Copy flat("bert-classification");
  flat.tensors["classifier.weight"] = at::zeros({96});
  flat.ExpectRefused({"classifier.weight", "rank"});

  Copy bias("bert-classification");
  bias.tensors.erase("classifier.bias");
  bias.ExpectRefused({"classifier.bias", "missing"});

  Copy table("mpnet-base");
  table.tensors.erase("encoder.relative_attention_bias.weight");
  table.ExpectRefused({"relative_attention_bias.weight", "missing"});
}

// What a head of pretraining or an old file leaves behind is no reason to refuse.
TEST(ModelRefusal, LeavesHarmlessTensorsAlone) {
  Copy copy("bert-classification");
  copy.tensors["cls.predictions.bias"] = at::zeros({112});
  copy.tensors["bert.embeddings.position_ids"] = at::arange(64).unsqueeze(0);
  EXPECT_EQ(copy.Load().spec.task, Task::kClassification);
}

}  // namespace
}  // namespace coppice
