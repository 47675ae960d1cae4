// SmolLM2 against testdata/smollm2_golden.json: transformers in float32, from the same GGUF file.
#include <gtest/gtest.h>

#include "model/decoder_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

TEST(RealDecoder, Smollm2GivesTheGoldenLogits) {
  const json golden = ReadJson(SourceDir() / "testdata" / "smollm2_golden.json");
  const auto file = RealModels() / "smollm2" / golden["file"].get<std::string>();
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "needs the model " << file;
  const Network net = Bind(LoadModel(file), {});
  EXPECT_EQ(net.spec.layers, 30);
  EXPECT_EQ(net.spec.max_tokens, 8192);
  EXPECT_EQ(net.spec.output, net.spec.word_embeddings);
  for (const SubLayerSpec& sub : net.spec.sub_layers) {
    EXPECT_EQ(sub.units, sub.kind == UnitKind::kHead ? 3 : 1536);
    EXPECT_EQ(sub.width, sub.kind == UnitKind::kHead ? 3 * 64 : 1);
  }
  std::vector<int64_t> ids = golden["ids"];
  ids.resize(golden["tokens"]);
  const at::Tensor logits = Outputs(net, GoldenBatch({{{"ids", ids}}}, 0))[0].to(at::kDouble);
  EXPECT_LT(MaxDifference(logits.logsumexp({1}), Numbers(golden["log_sums"])), 1e-3);
  const at::Tensor columns = at::tensor(golden["logits_of"].get<std::vector<int64_t>>(), at::kLong);
  for (const json& row : golden["rows"]) {
    const at::Tensor own = logits[row["position"].get<int64_t>()].index_select(0, columns);
    EXPECT_LT(MaxDifference(own, Numbers(row["logits"])), 1e-3) << row["position"];
  }
}

}  // namespace
}  // namespace coppice
