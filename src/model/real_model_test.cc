// The real encoders against testdata/real_goldens.json: transformers in float32.
#include <gtest/gtest.h>

#include <map>

#include "model/model_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-4;

// Ids of a text are in the file once for each tokenizer.
std::map<std::string, std::vector<json>> CasesByModel() {
  std::map<std::string, json> by_name;
  std::map<std::string, std::vector<json>> by_model;
  const json goldens = ReadJson(SourceDir() / "testdata" / "real_goldens.json");
  for (json one : goldens["cases"]) {
    if (one.contains("same_ids_as")) {
      const json& source = by_name.at(one["same_ids_as"].get<std::string>());
      one["ids"] = source["ids"];
      if (source.contains("type_ids")) one["type_ids"] = source["type_ids"];
    }
    by_name[one["name"].get<std::string>()] = one;
    by_model[one["model"].get<std::string>()].push_back(one);
  }
  return by_model;
}

TEST(RealModel, GivesTheGoldenOutput) {
  const std::filesystem::path models = RealModels();
  if (!std::filesystem::is_directory(models))
    GTEST_SKIP() << "needs the real models: " << models << " or COPPICE_MODELS";
  size_t found = 0;
  for (const auto& [name, cases] : CasesByModel()) {
    SCOPED_TRACE(name);
    if (!std::filesystem::is_directory(models / name)) continue;
    ++found;
    const Network net = Bind(LoadModel(models / name), {});
    // The shortest case shares its batch with another, so that padding is seen too.
    const auto shortest = std::min_element(
        cases.begin(), cases.end(),
        [](const json& a, const json& b) { return a["ids"].size() < b["ids"].size(); });
    for (const json& one : cases) {
      std::vector<json> rows = {one};
      if (&one == &*shortest) rows.push_back(&one == &cases[0] ? cases[1] : cases[0]);
      const at::Tensor golden = GoldenOutput(one);
      const at::Tensor output = Outputs(net, GoldenBatch(rows, net.spec.pad_id));
      EXPECT_LT(MaxDifference(OutputLike(golden, output, 0), golden), kTolerance) << one["name"];
    }
  }
  if (found == 0) GTEST_SKIP() << "no real model in " << models;
}

}  // namespace
}  // namespace coppice
