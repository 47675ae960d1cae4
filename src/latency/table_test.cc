// Tables made of times that are known, their files, and the costs made of them.
#include "latency/table.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/random.h"
#include "latency/latency_testing.h"
#include "latency/table_file.h"
#include "testdata.h"

namespace coppice {
namespace {

Model Tiny(const std::string& name = "bert-classification") { return LoadModel(TinyFolder(name)); }

LatencyTable TrueTable(const Model& model, double fixed = 3) {
  return FitTable(model.spec, MeasureProbes(model, FakeStopwatch(fixed)));
}

TEST(NonDecreasing, IsTheNearestThatNeverFalls) {
  EXPECT_EQ(NonDecreasing({1, 2, 2, 5}), (std::vector<double>{1, 2, 2, 5}));
  EXPECT_EQ(NonDecreasing({3, 1, 2}), (std::vector<double>{2, 2, 2}));
  EXPECT_EQ(NonDecreasing({1, 4, 2, 6}), (std::vector<double>{1, 3, 3, 6}));
  EXPECT_TRUE(NonDecreasing({}).empty());
}

TEST(LatencyTable, FindsTheTimesOfSubLayers) {
  for (const std::string name : {"bert-classification", "mpnet-base", "distilbert-regression"}) {
    SCOPED_TRACE(name);
    const Model model = Tiny(name);
    const LatencyTable table = TrueTable(model);
    EXPECT_NEAR(table.fixed_ms, 3, 1e-9);
    EXPECT_NEAR(table.spread, 0.03, 1e-9);
    for (const LatencyCurve* curve : {&table.attention, &table.feed_forward}) {
      const UnitKind kind = curve == &table.attention ? UnitKind::kHead : UnitKind::kChannel;
      EXPECT_EQ(curve->units.back(), model.spec.sub_layers[kind == UnitKind::kHead ? 0 : 1].units);
      for (size_t k = 0; k < curve->units.size(); ++k)
        EXPECT_NEAR(curve->ms[k], TrueMs(kind, curve->units[k]), 1e-9);
    }
  }
}

TEST(LatencyTable, PartsAddUpToTheWholeModel) {
  const Model model = Tiny();
  const Stopwatch slower_alone = FakeStopwatch(3, /*whole=*/2 * (4 + 64), /*unknown=*/0.2);
  const LatencyTable table = FitTable(model.spec, MeasureProbes(model, slower_alone));
  const CostTable costs = LatencyCosts(model.spec, table);
  EXPECT_NEAR(static_cast<double>(costs.Of(FullPlan(costs.units))),
              static_cast<double>(costs.Dense()), 10);
  EXPECT_EQ(costs.Dense(), std::llround(table.dense_ms * 1e6));
  EXPECT_EQ(costs.fixed, 3000000);
}

TEST(LatencyTable, IsALineBetweenWidthsAndFlatBelowTheNarrowest) {
  const LatencyCurve curve{{0, 8, 16}, {0, 2, 4}};
  EXPECT_EQ(LatencyAt(curve, 0), 0);
  EXPECT_EQ(LatencyAt(curve, 1), 2);
  EXPECT_EQ(LatencyAt(curve, 8), 2);
  EXPECT_EQ(LatencyAt(curve, 12), 3);
  EXPECT_EQ(LatencyAt(curve, 16), 4);
}

// Dents within the noise are smoothed, dents beyond it stay.
TEST(LatencyTable, IsALineWhereDentsAreNoise) {
  const Model model = Tiny();
  const auto table = [&](double spread) {
    ProbeTimes times = MeasureProbes(model, FakeStopwatch(3));
    times.widths.channels = {0, 16, 32, 48, 64, 80};
    times.channels.clear();
    for (size_t k = 0; k < 6; ++k) {
      const double ms = 10 + (k > 0 ? 1.0 : 0.0) + 2 * static_cast<double>(k) + (k == 3 ? -0.5 : 0);
      times.channels.push_back({ms, ms - spread, ms + spread, 4});
    }
    return FitTable(model.spec, times).feed_forward;
  };
  const auto dent = [](const LatencyCurve& curve) {
    return curve.ms[3] - (curve.ms[2] + curve.ms[4]) / 2;
  };
  EXPECT_NEAR(dent(table(2.0)) / table(2.0).ms.back(), 0, 1e-12);
  EXPECT_LT(dent(table(0.1)) / table(0.1).ms.back(), -0.04);
  EXPECT_EQ(table(2.0).ms.front(), 0);
  EXPECT_GT(table(2.0).ms[1], 0.15 * table(2.0).ms.back());  // what any channel costs
}

TEST(LatencyTable, CostsNeverFallWhateverIsMeasured) {
  const Model model = Tiny();
  Random random(3);
  const Stopwatch noise = [&](const std::vector<Model>& models) {
    std::vector<Timing> timings;
    for (size_t i = 0; i < models.size(); ++i) {
      const double ms = 1 + random.Uniform();
      timings.push_back({ms, ms, ms, 1});
    }
    return timings;
  };
  const CostTable costs =
      LatencyCosts(model.spec, FitTable(model.spec, MeasureProbes(model, noise)));
  for (const std::vector<int64_t>& curve : costs.curves) {
    EXPECT_EQ(curve.front(), 0);
    EXPECT_TRUE(std::is_sorted(curve.begin(), curve.end()));
  }
}

TEST(LatencyTable, ScalingLeavesTheFixedPartAndTheWholeModel) {
  const Model model = Tiny();
  const CostTable costs = LatencyCosts(model.spec, TrueTable(model));
  const CostTable scaled = ScaleCosts(costs, 1.5);
  EXPECT_EQ(scaled.fixed, costs.fixed);
  EXPECT_EQ(scaled.Dense(), costs.Dense());
  EXPECT_NEAR(static_cast<double>(scaled.OfSubLayer(1, 40)),
              1.5 * static_cast<double>(costs.OfSubLayer(1, 40)), 1);
}

class TableFileTest : public testing::Test {
 protected:
  TableFileTest() {
    table_.key = LatencyKey(model_.spec, {});
    file_ = folder_.path() / "cache" / "table.json";
  }
  TempFolder folder_;
  Model model_ = Tiny();
  LatencyTable table_ = TrueTable(model_);
  std::filesystem::path file_;
};

TEST_F(TableFileTest, IsReadBack) {
  EXPECT_FALSE(ReadTable(file_, table_.key));
  WriteTable(file_, table_);
  const std::optional<LatencyTable> read = ReadTable(file_, table_.key);
  ASSERT_TRUE(read);
  EXPECT_EQ(TableToJson(*read), TableToJson(table_));
}

TEST_F(TableFileTest, HoldsForOneSettingAndShape) {
  WriteTable(file_, table_);
  const std::vector<LatencySetting> others = {{.batch = 2}, {.tokens = 64}, {.threads = 3}};
  for (const LatencySetting& other : others) {
    EXPECT_FALSE(ReadTable(file_, LatencyKey(model_.spec, other)));
    EXPECT_NE(CachedTableFile(LatencyKey(model_.spec, other)), CachedTableFile(table_.key));
  }
  ModelSpec narrower = model_.spec;
  narrower.sub_layers[1].units = 63;
  EXPECT_FALSE(ReadTable(file_, LatencyKey(narrower, {})));
}

TEST_F(TableFileTest, IgnoresWhatIsNoTable) {
  const auto with = [&](const std::string& key, const nlohmann::ordered_json& value) {
    nlohmann::ordered_json json = TableToJson(table_);
    json[key] = value;
    WriteTable(file_, table_);
    WriteFile(file_, json.dump());
    return ReadTable(file_, table_.key).has_value();
  };
  EXPECT_TRUE(with("spread", 0.5));
  EXPECT_FALSE(with("fixed_ms", "3"));
  EXPECT_FALSE(with("fixed_ms", -1));
  EXPECT_FALSE(with("dense_ms", 0));
  EXPECT_FALSE(with("attention", {{"units", {0, 2, 1}}, {"ms", {0, 1, 2}}}));
  EXPECT_FALSE(with("attention", {{"units", {0, 1, 2}}, {"ms", {0, 2, 1}}}));
  EXPECT_FALSE(with("attention", {{"units", {0, 1}}, {"ms", {0, 1, 2}}}));
  EXPECT_FALSE(with("feed_forward", {{"units", {1, 2}}, {"ms", {0, 1}}}));
  EXPECT_FALSE(with("feed_forward", 7));
  WriteFile(file_, "{\"key\": ");
  EXPECT_FALSE(ReadTable(file_, table_.key));
}

TEST_F(TableFileTest, LiesInTheUsersCache) {
  const auto set = [](const char* name, const char* value) {
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  };
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  const std::string old_cache = cache != nullptr ? cache : "",
                    old_home = home != nullptr ? home : "";
  set("XDG_CACHE_HOME", "/some/cache");
  set("HOME", "/users/me");
  EXPECT_EQ(CachedTableFile(table_.key).parent_path(), "/some/cache/coppice");
  set("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(CachedTableFile(table_.key).parent_path(), "/users/me/.cache/coppice");
  set("HOME", nullptr);
  EXPECT_TRUE(CachedTableFile(table_.key).empty());
  set("XDG_CACHE_HOME", cache != nullptr ? old_cache.c_str() : nullptr);
  set("HOME", home != nullptr ? old_home.c_str() : nullptr);
}

}  // namespace
}  // namespace coppice
