// Written folders in transformers: outputs equal ours, whatever the layers' sizes; with remote code
// where layers differ, in stock classes where they do not. Needs what scripts/fetch_transformers
// installs; COPPICE_TRANSFORMERS names another Python that has transformers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "export/huggingface.h"
#include "export/oracle_testing.h"
#include "model/decoder_testing.h"
#include "model/generate.h"
#include "shrink/narrow_testing.h"
#include "shrink/shrink.h"
#include "tune/tune.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path Python() {
  const char* const named = std::getenv("COPPICE_TRANSFORMERS");
  return named != nullptr ? fs::path(named)
                          : SourceDir() / "build" / "transformers" / "bin" / "python";
}

// The rows that transformers_check.py makes of a model's outputs.
at::Tensor Rows(const Model& model, const Batch& batch) {
  const at::Tensor outputs = Outputs(Bind(model, {}), batch);
  const bool every_token =
      model.spec.task == Task::kQuestionAnswering || model.spec.task == Task::kLanguageModel;
  return every_token ? outputs.index({batch.mask}) : outputs;
}

template <typename T>
json Lists(const at::Tensor& x, at::ScalarType type) {
  json lists = json::array();
  const at::Tensor rows = x.to(type).contiguous();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const T* const row = rows[i].const_data_ptr<T>();
    lists.push_back(std::vector<T>(row, row + rows.size(1)));
  }
  return lists;
}

std::string AutoClass(Task task) {
  switch (task) {
    case Task::kClassification:
    case Task::kRegression:
      return "AutoModelForSequenceClassification";
    case Task::kQuestionAnswering:
      return "AutoModelForQuestionAnswering";
    case Task::kLanguageModel:
      return "AutoModelForCausalLM";
    case Task::kNone:
      return "AutoModel";
  }
  return {};
}

// The likeliest tokens after a prompt, one after the other.
std::vector<int64_t> Greedy(const Model& model, const std::vector<int64_t>& prompt, int count) {
  const at::NoGradGuard no_gradients;
  const Network net = Bind(model, {});
  Generation generation;
  std::vector<int64_t> tokens;
  at::Tensor next = at::tensor(prompt, at::kLong).unsqueeze(0);
  for (int i = 0; i < count; ++i) {
    next = Extend(net, next, &generation).argmax(-1, true);
    tokens.push_back(next.item<int64_t>());
  }
  return tokens;
}

// Folders with what is expected of them, checked all at once: Python takes long to start.
class TransformersTest : public testing::Test {
 protected:
  void SetUp() override {
    UseThreads(1);
    if (!fs::exists(Python())) GTEST_SKIP() << "needs scripts/fetch_transformers";
  }

  // Random inputs: two of them, one shorter.
  Batch DrawBatch(const Model& model, int64_t tokens) {
    const ModelSpec& spec = model.spec;
    const auto type_table = model.tensors.find(spec.token_type_embeddings);
    const bool two_types = type_table != model.tensors.end() && type_table->second.size(0) > 1;
    std::vector<json> cases;
    for (const int64_t length : {tokens, tokens - 4}) {
      std::vector<int64_t> ids, types;
      for (int64_t i = 0; i < length; ++i) {
        ids.push_back(3 + random_.Below(spec.vocabulary - 3));
        types.push_back(two_types && 2 * i >= length ? 1 : 0);
      }
      cases.push_back({{"ids", ids}, {"type_ids", types}});
    }
    return GoldenBatch(cases, spec.pad_id);
  }

  void Add(const std::string& name, const Model& model, bool stock, int64_t tokens = 12) {
    const Batch batch = DrawBatch(model, tokens);
    fs::create_directory(folder_.path() / name);
    WriteHuggingFace(model, folder_.path() / name);
    json expected = {{"auto", AutoClass(model.spec.task)},
                     {"stock", stock},
                     {"ids", Lists<int64_t>(batch.ids, at::kLong)},
                     {"mask", Lists<int64_t>(batch.mask, at::kLong)},
                     {"outputs", Lists<double>(Rows(model, batch), at::kDouble)}};
    if (!model.spec.token_type_embeddings.empty())
      expected["type_ids"] = Lists<int64_t>(batch.type_ids, at::kLong);
    if (model.spec.task == Task::kLanguageModel) {
      expected["prompt"] = expected["ids"][0];
      expected["generated"] = Greedy(model, expected["prompt"].get<std::vector<int64_t>>(), 12);
    }
    WriteFile(folder_.path() / (name + ".json"), expected.dump());
    expected_[name] = expected;
    batches_[name] = batch;
    rows_[name] = Rows(model, batch);
  }

  void ExpectAllEqual(double tolerance = 1e-4) {
    const auto output =
        RunCommand(fmt::format("'{}' '{}' '{}'", Python().string(),
                               (SourceDir() / "src" / "export" / "transformers_check.py").string(),
                               folder_.path().string()));
    ASSERT_TRUE(output) << "transformers did not run";
    std::istringstream lines(*output);
    std::map<std::string, json> results;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with('{')) continue;
      const json result = json::parse(line);
      results[result["name"]] = result;
    }
    for (const auto& [name, expected] : expected_) {
      SCOPED_TRACE(name);
      ASSERT_TRUE(results.contains(name)) << *output;
      ExpectEqual(name, expected, results.at(name), tolerance);
    }
  }

  void ExpectEqual(const std::string& name, const json& expected, const json& result,
                   double tolerance) {
    ASSERT_FALSE(result.contains("error")) << result["error"];
    EXPECT_LT(result["difference"], tolerance);
    EXPECT_LT(result["again"], 1e-6);
    EXPECT_EQ(result["module"],
              expected["stock"] == true ? "transformers" : "transformers_modules");
    EXPECT_EQ(result["missing"], json::array());
    EXPECT_EQ(result["unexpected"], json::array());
    if (expected.contains("generated")) {
      EXPECT_EQ(result["generated"], expected["generated"]);
      EXPECT_EQ(result["without_cache"], expected["generated"]);
    }
    // What transformers saved is a model of ours again.
    const Model again = LoadModel(folder_.path() / (name + ".again"));
    EXPECT_LT(MaxDifference(Rows(again, batches_.at(name)), rows_.at(name)), tolerance);
  }

  Random random_{20};
  TempFolder folder_;
  std::map<std::string, json> expected_;
  std::map<std::string, Batch> batches_;
  std::map<std::string, at::Tensor> rows_;
};

// So many units of each sub-layer, drawn at random; `count` is asked sub-layer by sub-layer.
template <typename Count>
Plan DrawPlan(const Model& model, Random* random, Count count) {
  Plan plan = FullPlan(UnitCounts(model.spec));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const auto wanted = static_cast<size_t>(count(i, model.spec.sub_layers[i].units));
    std::vector<int64_t>& kept = plan.kept[i];
    while (kept.size() > wanted)
      kept.erase(kept.begin() + random->Below(static_cast<int64_t>(kept.size())));
  }
  return plan;
}

// Layers that differ; in each the first time no head, the second time no channel.
std::vector<Plan> UnevenPlans(const Model& model, Random* random) {
  std::vector<Plan> plans;
  for (const size_t empty : {size_t{0}, size_t{3}}) {
    plans.push_back(DrawPlan(model, random, [empty](size_t i, int64_t units) {
      return i == empty ? 0 : std::max<int64_t>(1, units / (i % 3 == 0 ? 2 : 3));
    }));
  }
  return plans;
}

class SlowTransformers : public TransformersTest {};

TEST_F(SlowTransformers, EqualsUsInEveryFamilyOfEncoders) {
  for (const std::string& name : TinyNames()) {
    if (name == "bert-float16" || name == "bert-bfloat16") continue;  // rounds in their own types
    const Model model = LoadModel(TinyFolder(name));
    int number = 0;
    for (const Plan& plan : UnevenPlans(model, &random_))
      Add(fmt::format("{}-{}", name, ++number), Shrink(model, plan), /*stock=*/false);
    Plan narrow = NarrowPlan(model.spec);
    Add(name + "-narrow", Shrink(model, narrow), /*stock=*/false);
    narrow.kept = UnevenPlans(model, &random_)[0].kept;
    Add(name + "-narrow-uneven", Shrink(model, narrow), /*stock=*/false);
    const Plan uniform = DrawPlan(
        model, &random_, [](size_t i, int64_t units) { return i % 2 == 0 ? units : units / 2; });
    Add(name + "-uniform", Shrink(model, uniform), /*stock=*/true);
  }
  ExpectAllEqual();
}

TEST_F(SlowTransformers, EqualsUsInEveryDecoder) {
  for (const std::string& name : TinyDecoderNames()) {
    const Model model = LoadModel(TinyDecoderPath(name));
    const std::string label =
        name.ends_with(".gguf") ? "gguf-" + name.substr(0, name.size() - 5) : name;
    int number = 0;
    for (const Plan& plan : UnevenPlans(model, &random_))
      Add(fmt::format("{}-{}", label, ++number), Shrink(model, plan), /*stock=*/false);
    Plan narrow = NarrowPlan(model.spec);
    narrow.kept = UnevenPlans(model, &random_)[0].kept;
    Add(label + "-narrow", Shrink(model, narrow), /*stock=*/false);
    if (name == "deci.gguf") continue;
    const Plan uniform = DrawPlan(model, &random_, [](size_t, int64_t units) { return units / 2; });
    Add(label + "-uniform", Shrink(model, uniform), /*stock=*/true);
    // 3 of 4 heads do not divide the width, which stock classes refuse.
    if (model.spec.sub_layers[0].units != 4) continue;
    const Plan three = DrawPlan(model, &random_,
                                [](size_t i, int64_t units) { return i % 2 == 0 ? 3 : units / 2; });
    Add(label + "-three", Shrink(model, three), /*stock=*/false);
  }
  ExpectAllEqual();
}

// A repair gives output projections biases that families do not have.
TEST_F(SlowTransformers, ReadsBiasesThatARepairAdded) {
  for (const std::string name : {"llama3", "mistral"}) {
    const Model model = LoadModel(TinyDecoderPath(name));
    const Plan uniform = DrawPlan(model, &random_, [](size_t, int64_t units) { return units / 2; });
    int number = 0;
    for (const Plan& plan : {UnevenPlans(model, &random_)[1], uniform}) {
      const Model smaller = Shrink(model, plan);
      std::map<std::string, at::Tensor> biases;
      for (const SubLayerSpec& sub : smaller.spec.sub_layers)
        biases[sub.output + ".bias"] = RandomTensor({32}, &random_);
      const Model repaired = WithTensors(smaller, biases);
      Add(fmt::format("{}-{}", name, ++number), repaired, !repaired.config.contains("coppice"));
    }
  }
  ExpectAllEqual();
}

TEST_F(SlowTransformers, EqualsUsInRealModels) {
  for (const std::string name : {"minilm", "minilm-sst2", "mpnet-squad"}) {
    if (!fs::exists(RealModels() / name)) continue;
    const Model model = LoadModel(RealModels() / name);
    const Plan plan = DrawPlan(model, &random_, [](size_t i, int64_t units) {
      return i == 2 ? 0 : i == 5 ? 0 : units - units / static_cast<int64_t>(2 + i % 4);
    });
    Add(name, Shrink(model, plan), /*stock=*/false, 40);
  }
  if (expected_.empty()) GTEST_SKIP() << "needs the models in " << RealModels();
  ExpectAllEqual();
}

}  // namespace
}  // namespace coppice
