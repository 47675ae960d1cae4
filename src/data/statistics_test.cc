#include "data/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

TEST(StatisticsTest, AccuracyIsTheShareOfEqualLabels) {
  const std::vector<int64_t> predicted = {0, 1, 2, 2};
  const std::vector<int64_t> gold = {0, 1, 1, 2};
  EXPECT_EQ(Accuracy(predicted, gold), 0.75);
  EXPECT_EQ(Accuracy({}, {}), 0);
  EXPECT_THROW(Accuracy(predicted, {}), InternalError);
}

TEST(StatisticsTest, SpearmanEqualsScipy) {
  std::ifstream file(COPPICE_SOURCE_DIR "/testdata/squad/spearman.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 6u);
  for (const auto& example : cases) {
    const auto a = example.at("a").get<std::vector<double>>();
    const auto b = example.at("b").get<std::vector<double>>();
    EXPECT_NEAR(Spearman(a, b), example.at("r").get<double>(), 1e-14);
  }
}

TEST(StatisticsTest, SpearmanSharesRanksOfEqualValues) {
  // Ranks 1.5 1.5 3 and 1 2 3, by hand: sqrt(3) / 2.
  const std::vector<double> a = {5, 5, 9};
  const std::vector<double> b = {-1, 0, 7};
  EXPECT_NEAR(Spearman(a, b), std::sqrt(3.0) / 2, 1e-15);
}

TEST(StatisticsTest, SpearmanWithoutOrder) {
  const std::vector<double> constant = {0.1, 0.1, 0.1};
  const std::vector<double> rising = {1, 2, 3};
  const std::vector<double> broken = {1, std::numeric_limits<double>::quiet_NaN(), 3};
  EXPECT_EQ(Spearman(constant, rising), 0);
  EXPECT_EQ(Spearman({}, {}), 0);
  EXPECT_TRUE(std::isnan(Spearman(broken, rising)));
  EXPECT_THROW(Spearman(rising, {}), InternalError);
}

}  // namespace
}  // namespace coppice
