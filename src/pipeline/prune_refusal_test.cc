// Models and data that cannot be used: the right exit code, the place in the message, and nothing
// left behind.
#include <gtest/gtest.h>

#include <cmath>

#include "pipeline/pipeline_testing.h"
#include "pipeline/prune.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

class PruneRefusalTest : public PipelineTest {
 protected:
  // Expects Prune() to refuse this model and data.
  void ExpectRefused(const fs::path& model, const fs::path& data,
                     const std::vector<std::string>& parts, ExitCode code = ExitCode::kBadInput) {
    PruneOptions options;
    options.model = model;
    options.data = {{data}};
    options.out = folder_.path() / "out";
    options.keep = 0.5;
    options.threads = 1;
    options.device = "cpu";
    Expect(code, parts, options);
  }
  void Expect(ExitCode code, const std::vector<std::string>& parts, const PruneOptions& options) {
    const std::vector<std::string> before = folder_.Names();
    ExpectError(code, parts, [&] { Prune(options, kQuiet); });
    EXPECT_EQ(folder_.Names(), before);
  }
  // A copy of a tiny model without one file.
  fs::path Without(const std::string& name, const std::string& file) {
    const fs::path copy = folder_.path() / ("no-" + file);
    fs::copy(TinyFolder(name), copy);
    fs::remove(copy / file);
    return copy;
  }
};

TEST_F(PruneRefusalTest, Models) {
  const fs::path data = DataFor("bert-classification");
  ExpectRefused(folder_.path() / "nowhere", data, {"nowhere", "no such folder"});
  ExpectRefused(Without("bert-classification", "tokenizer.json"), data, {"tokenizer.json"});
  ExpectRefused(Without("bert-classification", "config.json"), data, {"config.json"});
  ExpectRefused(Without("bert-classification", "model.safetensors"), data,
                {"no-model.safetensors"});
}

// A tokenizer with more ids than the model has rows.
TEST_F(PruneRefusalTest, TokenizersOfAnotherModel) {
  const fs::path mixed = Without("bert-classification", "tokenizer.json");
  fs::copy(TinyFolder("roberta-classification") / "tokenizer.json", mixed);
  ExpectRefused(mixed, DataFor("bert-classification"),
                {"data.jsonl:", "below 112", "tokenizer.json and the weights"});
}

// RoBERTa has one token type; its tokenizer.json with BERT's kind of template gives a pair's second
// text type 1. Without a pair nothing is wrong.
TEST_F(PruneRefusalTest, TokenTypesBeyondTheTable) {
  const fs::path model = Without("roberta-classification", "tokenizer.json");
  nlohmann::json tokenizer = ReadJson(TinyFolder("roberta-classification") / "tokenizer.json");
  const auto special = [](const char* text, int type) {
    return nlohmann::json{{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* name, int type) {
    return nlohmann::json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  const auto token = [](const char* text, int id) {
    return nlohmann::json{{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  nlohmann::json& post = tokenizer["post_processor"] = {{"type", "TemplateProcessing"}};
  post["single"] = {special("<s>", 0), sequence("A", 0), special("</s>", 0)};
  post["pair"] = {special("<s>", 0), sequence("A", 0), sequence("B", 1), special("</s>", 1)};
  post["special_tokens"] = {{"<s>", token("<s>", 0)}, {"</s>", token("</s>", 2)}};
  WriteFile(model / "tokenizer.json", tokenizer.dump());
  const std::string good = "{\"text\": \"The cat.\", \"label\": 1}\n";
  const std::string pair = "{\"text\": \"The cat.\", \"text_pair\": \"It ran.\", \"label\": 1}\n";
  ExpectRefused(model, Write("data.jsonl", good + pair),
                {"data.jsonl:2", "token type", "below 1", "found 1", "type_vocab_size"});
  PruneOptions options;
  options.model = model;
  options.data = {{Write("single.jsonl", good + good)}};
  options.out = folder_.path() / "out";
  options.keep = 0.5;
  options.threads = 1;
  options.device = "cpu";
  EXPECT_NO_THROW(Prune(options, kQuiet));
}

TEST_F(PruneRefusalTest, Data) {
  const fs::path model = TinyFolder("bert-classification");
  const std::string good = "{\"text\": \"The cat.\", \"label\": 1}\n";
  const auto refused = [&](const std::string& text, const std::vector<std::string>& parts) {
    SCOPED_TRACE(text);
    ExpectRefused(model, Write("data.jsonl", text), parts);
  };
  refused("", {"data.jsonl"});
  refused("\n\n", {"data.jsonl"});
  refused(good + "\n{\"text\": \"The", {"data.jsonl:3"});
  refused(good + "{\"label\": 1}\n", {"data.jsonl:2", "\"text\""});
  refused(good + good + "{\"text\": \"A dog.\", \"label\": 3}\n",
          {"data.jsonl:3", "label out of range", "from 0 to 2", "found 3"});
  refused(good + "{\"text\": \"A dog.\", \"label\": -1}\n", {"data.jsonl:2", "found -1"});
  refused(good + "{\"text\": \"A dog.\", \"label\": 0.5}\n", {"data.jsonl:2", "found 0.5"});
  refused(good + "{\"text\": \"A dog.\", \"label\": \"1\"}\n", {"data.jsonl:2", "label"});
  refused(ReadFile(DataFor("bert-question-answering")), {"data.jsonl:1", "classification"});
  ExpectRefused(model, folder_.path() / "no.jsonl", {"no.jsonl"});
  ExpectRefused(model, "", {"--data"}, ExitCode::kUsage);
  ExpectRefused(TinyFolder("bert-question-answering"), Write("data.jsonl", good),
                {"data.jsonl:1", "question answering"});
}

TEST_F(PruneRefusalTest, Options) {
  PruneOptions options;
  options.model = TinyFolder("bert-classification");
  options.data = {{DataFor("bert-classification")}};
  options.out = folder_.path() / "out";
  options.keep = 0.5;
  const auto refused = [&](auto change, ExitCode code, const std::vector<std::string>& parts) {
    PruneOptions changed = options;
    change(&changed);
    Expect(code, parts, changed);
  };
  refused([](PruneOptions* o) { o->method = "magic"; }, ExitCode::kUsage, {"--method", "magic"});
  refused([](PruneOptions* o) { o->samples = 0; }, ExitCode::kUsage, {"--samples"});
  refused([](PruneOptions* o) { o->device = "tpu"; }, ExitCode::kUsage, {"--device", "tpu"});
  refused([](PruneOptions* o) { o->device = "cuda:77"; }, ExitCode::kEnvironment, {"cuda:77"});
  refused(
      [](PruneOptions* o) {
        o->forms = {"hf", "pdf"};
      },
      ExitCode::kUsage, {"--to", "hf, gguf, onnx", "pdf"});
  refused([](PruneOptions* o) { o->forms = {"gguf"}; }, ExitCode::kUsage,
          {"--to gguf", "a language model"});
  refused([](PruneOptions* o) { o->dtype = "int4"; }, ExitCode::kUsage, {"--dtype", "int4"});
  refused([](PruneOptions* o) { o->as_published = o->uniform = true; }, ExitCode::kUsage,
          {"--as-published"});
  refused(
      [](PruneOptions* o) {
        o->as_published = true;
        o->repair = "bias";
      },
      ExitCode::kUsage, {"--as-published"});
  refused(
      [&](PruneOptions* o) {
        o->as_published = true;
        o->method = "fisher";
        o->plan = o->out / "coppice.json";
      },
      ExitCode::kUsage, {"--as-published", "--plan"});
  for (const double ridge : {-1.0, std::nan("")})
    refused([ridge](PruneOptions* o) { o->ridge = ridge; }, ExitCode::kUsage, {"--ridge"});
  refused(
      [](PruneOptions* o) {
        o->out = o->model;
        o->replace = true;
      },
      ExitCode::kUsage, {"holds an input"});
  // What nobody would read.
  refused([](PruneOptions* o) { o->images.per_class = 4; }, ExitCode::kUsage, {"--per-class"});
  refused([](PruneOptions* o) { o->images.null_share = 0; }, ExitCode::kUsage, {"--null-share"});
  refused([](PruneOptions* o) { o->images.sampling.temperature = 2; }, ExitCode::kUsage,
          {"--temperature"});
  refused([](PruneOptions* o) { o->images.sampling.top_k = 5; }, ExitCode::kUsage, {"--top-k"});
  refused([](PruneOptions* o) { o->images.sampling.guidance = 1.5; }, ExitCode::kUsage,
          {"--guidance", "models of images", "expected a model of image tokens", "found bert",
           "drop --guidance"});
  // Without labels there is nothing to measure, and that is said before the work.
  const fs::path bare = Write("bare.jsonl", "{\"text\": \"The cat.\"}\n");
  refused([&](PruneOptions* o) { o->eval = bare; }, ExitCode::kBadInput, {"bare.jsonl:1", "label"});
}

}  // namespace
}  // namespace coppice
