// Where heads may not be narrowed: said before the work, in a line.
#include "pipeline/narrow_heads.h"

#include <gtest/gtest.h>

#include "export/forms.h"
#include "model/decoder_testing.h"
#include "shrink/narrow_testing.h"

namespace coppice {
namespace {

TEST(NarrowHeadForms, AreThoseThatHoldThem) {
  const Model folder = LoadModel(TinyDecoderPath("llama3"));
  const Model file = LoadModel(TinyDecoderPath("llama2.gguf"));
  PruneOptions options;
  options.finer = "values";
  EXPECT_TRUE(Narrowing(folder, options).parts.values);
  EXPECT_FALSE(Narrowing(file, options).parts.values);  // whose own form is GGUF
  EXPECT_NE(Narrowing(file, options).reason.find("gguf"), std::string::npos);
  options.forms = {"hf"};
  EXPECT_TRUE(Narrowing(file, options).parts.values);
  options.forms = {"hf", "gguf"};
  EXPECT_FALSE(Narrowing(folder, options).parts.values);
  options.forms.clear();
  options.budget = CostKind::kLatency;
  EXPECT_NE(Narrowing(folder, options).reason.find("latency"), std::string::npos);
  options.finer = "none";
  EXPECT_TRUE(Narrowing(folder, options).reason.empty());
  EXPECT_FALSE(Narrowing(folder, options).parts.values);
}

TEST(NarrowHeadForms, RefuseAPlanThatNarrows) {
  const Model model = LoadModel(TinyDecoderPath("llama3"));
  PruneOptions options;
  options.plan = "some/plan.json";
  options.forms = {"hf", "gguf"};
  const Plan plan = NarrowPlan(model.spec);
  ExpectError(ExitCode::kUsage, {"--to gguf", "narrows heads", "some/plan.json"},
              [&] { RequireNarrowHeads(plan, model, options); });
  EXPECT_NO_THROW(RequireNarrowHeads(FullPlan(UnitCounts(model.spec)), model, options));
  options.forms = {"hf"};
  EXPECT_NO_THROW(RequireNarrowHeads(plan, model, options));
}

TEST(NarrowHeadForms, RefuseAModelThatHasThem) {
  const Model model = LoadModel(TinyDecoderPath("llama2.gguf"));
  const Model narrow = Shrink(model, NarrowPlan(model.spec));
  ExpectError(ExitCode::kUsage, {"--to gguf", "narrower"},
              [&] { RequireForms(narrow, {"gguf"}, {}); });
  EXPECT_NO_THROW(RequireForms(narrow, {"hf"}, {}));
}

}  // namespace
}  // namespace coppice
