#include "data/squad.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace coppice {
namespace {

using nlohmann::json;

const std::filesystem::path kGoldens = COPPICE_SOURCE_DIR "/testdata/squad";

json ReadGolden(const std::string& name) {
  std::ifstream file(kGoldens / name);
  return json::parse(file);
}

std::filesystem::path FolderFrom(const char* variable, const char* otherwise) {
  const char* folder = std::getenv(variable);
  return folder != nullptr ? folder : otherwise;
}

// ---- Scores ----

TEST(SquadScoreTest, NormalizesAsTheOfficialScript) {
  const json cases = ReadGolden("normalize.json");
  ASSERT_GE(cases.size(), 250u);
  for (const json& pair : cases) {
    EXPECT_EQ(NormalizeAnswer(pair[0].get<std::string>()), pair[1].get<std::string>())
        << pair.dump(-1, ' ', true);
  }
}

TEST(SquadScoreTest, ScoresAsTheOfficialScript) {
  const json cases = ReadGolden("scores.json");
  ASSERT_GE(cases.size(), 80u);
  for (const json& golden : cases) {
    Dataset dataset;
    for (const json& texts : golden.at("golds")) {
      dataset.examples.push_back(
          {.answers = texts.get<std::vector<std::string>>(), .is_question = true});
    }
    const SquadScore score =
        ScoreSquad(dataset, golden.at("predictions").get<std::vector<std::string>>());
    EXPECT_DOUBLE_EQ(score.exact_match, golden.at("exact_match").get<double>()) << golden;
    EXPECT_DOUBLE_EQ(score.f1, golden.at("f1").get<double>()) << golden;
  }
}

TEST(SquadScoreTest, RefusesAWrongNumberOfPredictions) {
  const Dataset dataset{.file = "x", .examples = {Example{.answers = {"a"}}}};
  EXPECT_THROW(ScoreSquad(dataset, {}), InternalError);
}

// ---- Windows ----

// The golden's logits; see logit() in tools/make_squad_goldens.py.
std::vector<float> GoldenLogits(uint32_t index, const SquadWindow& window, uint32_t which) {
  std::vector<float> logits;
  for (uint32_t i = 0; i < window.encoding.ids.size(); ++i) {
    const uint32_t h = (index * 1000003u + i * 7919u + which * 104729u) * 2654435761u;
    logits.push_back(static_cast<float>((h >> 16) % 1000 / 100.0 - 5));
  }
  if (window.example % 2 == 1) logits[0] = 6;
  return logits;
}

void ExpectWindow(const SquadWindow& window, const json& golden) {
  EXPECT_EQ(window.example, golden[0].get<int64_t>());
  EXPECT_EQ(window.encoding.ids, golden[1].get<std::vector<int32_t>>());
  const auto& types = window.encoding.type_ids;
  EXPECT_EQ(std::count(types.begin(), types.end(), 1), golden[2].get<int64_t>());
  const auto& sequence = window.encoding.sequence;
  const auto first =
      static_cast<size_t>(std::find(sequence.begin(), sequence.end(), 1) - sequence.begin());
  EXPECT_EQ(first, golden[3].get<size_t>());
  size_t last = sequence.size();
  while (sequence[last - 1] != 1) --last;
  EXPECT_EQ(window.context_bytes.at(first).first, golden[4][0].get<uint32_t>());
  EXPECT_EQ(window.context_bytes.at(last - 1).second, golden[4][1].get<uint32_t>());
  EXPECT_EQ(window.start, golden[5].get<int64_t>());
  EXPECT_EQ(window.end, golden[6].get<int64_t>());
}

TEST(SquadWindowsTest, WindowsAndAnswersEqualTheReference) {
  const json cases = ReadGolden("windows.json");
  ASSERT_EQ(cases.size(), 4u);
  for (const json& golden : cases) {
    SCOPED_TRACE(fmt::format("{} {} {}", golden.at("tokenizer").get<std::string>(),
                             golden.at("data").get<std::string>(),
                             golden.at("max_length").get<int>()));
    const Tokenizer tokenizer =
        Tokenizer::Load(kGoldens / golden.at("tokenizer").get<std::string>());
    const Dataset dataset = ReadDataset(kGoldens / golden.at("data").get<std::string>());
    const auto windows =
        MakeSquadWindows(tokenizer, dataset, golden.at("max_length").get<size_t>());
    ASSERT_EQ(windows.size(), golden.at("windows").size());
    SquadAnswers answers(dataset);
    for (size_t i = 0; i < windows.size(); ++i) {
      SCOPED_TRACE(i);
      ExpectWindow(windows[i], golden.at("windows")[i]);
      const auto index = static_cast<uint32_t>(i);
      answers.Add(windows[i], GoldenLogits(index, windows[i], 0),
                  GoldenLogits(index, windows[i], 1));
    }
    EXPECT_EQ(answers.Best(), golden.at("answers").get<std::vector<std::string>>());
  }
}

TEST(SquadWindowsTest, EveryLengthCoversTheContext) {
  const Tokenizer tokenizer = Tokenizer::Load(kGoldens / "words.json");
  std::string question;
  std::string context;
  for (int i = 0; i < 300; ++i) question += "what ";
  for (int i = 0; i < 500; ++i) context += "river ";
  const Dataset dataset{
      .file = "x",
      .examples = {Example{.text = question, .text_pair = context, .is_question = true},
                   Example{.text = "who", .text_pair = context, .is_question = true},
                   Example{.text = "who", .text_pair = "", .is_question = true}}};
  const size_t special = tokenizer.NumSpecial(true);
  for (const size_t length :
       {special + 2, special + 3, size_t{20}, size_t{64}, size_t{132}, size_t{133}, size_t{384}}) {
    std::vector<std::set<uint32_t>> covered(3);
    for (const SquadWindow& window : MakeSquadWindows(tokenizer, dataset, length)) {
      EXPECT_LE(window.encoding.ids.size(), length);
      for (const auto& [begin, end] : window.context_bytes) {
        if (end > 0) covered[static_cast<size_t>(window.example)].insert(begin);
      }
    }
    EXPECT_EQ(covered[0].size(), 500u) << length;
    EXPECT_EQ(covered[1].size(), 500u) << length;
    EXPECT_EQ(covered[2].size(), 0u) << length;
  }
  EXPECT_THROW(MakeSquadWindows(tokenizer, dataset, special + 1), Error);
}

TEST(SquadWindowsTest, RefusesWhatIsNoQuestion) {
  const Tokenizer tokenizer = Tokenizer::Load(kGoldens / "words.json");
  const Dataset dataset{.file = "x.jsonl", .examples = {Example{.text = "a", .line = 4}}};
  try {
    MakeSquadWindows(tokenizer, dataset, kSquadLength);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("x.jsonl:4: not a question"), std::string::npos)
        << error.what();
  }
}

TEST(SquadWindowsTest, RealWindowsEqualTheReference) {
  const auto data =
      FolderFrom("COPPICE_SHARED", COPPICE_SOURCE_DIR "/../shared") / "data/squad-dev.jsonl";
  const auto model =
      FolderFrom("COPPICE_MODELS", COPPICE_SOURCE_DIR "/build/models") / "mpnet-squad";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "needs ../shared/data/squad-dev.jsonl";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "needs the model mpnet-squad";
  const auto windows =
      MakeSquadWindows(Tokenizer::Load(model / "tokenizer.json"), ReadDataset(data), kSquadLength);
  std::string ids;
  std::string positions;
  for (const SquadWindow& window : windows) {
    ids += fmt::format("{}\n", fmt::join(window.encoding.ids, " "));
    positions += fmt::format("{} {} {}\n", window.example, window.start, window.end);
  }
  const json golden = ReadGolden("squad_dev.json");
  EXPECT_EQ(windows.size(), golden.at("windows").get<size_t>());
  EXPECT_EQ(Sha256Hex(ids), golden.at("ids").get<std::string>());
  EXPECT_EQ(Sha256Hex(positions), golden.at("positions").get<std::string>());
}

// ---- Answers, by hand ----

// "[CLS] ? [SEP] one two [SEP]"; tokens 3 and 4 are the context's.
class SquadAnswersTest : public testing::Test {
 protected:
  SquadAnswersTest() {
    window_.encoding = {
        .ids = {1, 2, 3, 4, 5, 3}, .type_ids = {}, .sequence = {-1, 0, -1, 1, 1, -1}};
    window_.context_bytes = {{0, 0}, {0, 0}, {0, 0}, {0, 3}, {4, 7}, {0, 0}};
  }

  static Dataset Questions(bool unanswerable) {
    Dataset dataset{.file = "x",
                    .examples = {Example{.text_pair = "one two", .is_question = true}}};
    if (!unanswerable) dataset.examples[0].answers = {"two"};
    return dataset;
  }

  std::string Answer(bool unanswerable, const std::vector<float>& start,
                     const std::vector<float>& end) const {
    const Dataset dataset = Questions(unanswerable);
    SquadAnswers answers(dataset);
    answers.Add(window_, start, end);
    return answers.Best().at(0);
  }

  SquadWindow window_;
};

TEST_F(SquadAnswersTest, TakesTheBestValidSpan) {
  EXPECT_EQ(Answer(false, {9, 8, 0, 1, 1.5, 0}, {9, 8, 0, 1, 0, 9}), "one");
  EXPECT_EQ(Answer(false, {9, 8, 0, 1, 2, 0}, {9, 8, 0, 1, 2, 9}), "two");
  EXPECT_EQ(Answer(false, {0, 0, 0, 3, 2, 0}, {0, 0, 0, 1, 2, 0}), "one two");
  // Backwards is no span, though 2 + 3 would win.
  EXPECT_EQ(Answer(false, {0, 0, 0, 0, 2, 0}, {0, 0, 0, 3, 0, 0}), "one");
}

TEST_F(SquadAnswersTest, TheFirstOfEqualsStays) {
  // Equal logits: the later start comes first.
  EXPECT_EQ(Answer(false, {0, 0, 0, 1, 1, 0}, {0, 0, 0, 1, 1, 0}), "two");
  // Equal sums: the higher start logit comes first.
  EXPECT_EQ(Answer(false, {0, 0, 0, 2, 1, 0}, {0, 0, 0, -9, 1, 0}), "one two");
  EXPECT_EQ(Answer(false, {0, 0, 0, 2, 1, 0}, {0, 0, 0, 0, 1, 0}), "one two");
}

TEST_F(SquadAnswersTest, NoAnswerWinsOnlyWhereDataHasThem) {
  const std::vector<float> null_wins = {5, 0, 0, 1, 0, 0};
  EXPECT_EQ(Answer(false, null_wins, null_wins), "one");
  EXPECT_EQ(Answer(true, null_wins, null_wins), "");
  const std::vector<float> tie = {1, 0, 0, 1, 0, 0};
  EXPECT_EQ(Answer(true, tie, tie), "one");
}

TEST_F(SquadAnswersTest, TheLowestNoAnswerScoreOfAllWindowsCounts) {
  const Dataset dataset = Questions(true);
  SquadAnswers answers(dataset);
  answers.Add(window_, std::vector<float>{5, 0, 0, 1, 0, 0}, std::vector<float>{5, 0, 0, 1, 0, 0});
  EXPECT_EQ(answers.Best().at(0), "");
  answers.Add(window_, std::vector<float>{-5, 0, 0, 0, 0, 0},
              std::vector<float>{-5, 0, 0, 0, 0, 0});
  EXPECT_EQ(answers.Best().at(0), "one");
}

TEST_F(SquadAnswersTest, SpansHaveThirtyTokensAtMost) {
  window_.encoding = {
      .ids = std::vector<int32_t>(32, 1), .type_ids = {}, .sequence = std::vector<int8_t>(32, 1)};
  window_.encoding.sequence[0] = -1;
  window_.context_bytes.assign(32, {0, 3});
  window_.context_bytes[30] = {4, 5};
  window_.context_bytes[31] = {4, 7};
  std::vector<float> start(32, 0);
  std::vector<float> end(32, 0);
  start[1] = end[31] = 9;  // 31 tokens
  end[30] = 5;             // 30 tokens
  EXPECT_EQ(Answer(false, start, end), "one t");
}

TEST_F(SquadAnswersTest, LogitsThatAreNoNumbersGiveNoAnswer) {
  const std::vector<float> nan(6, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(Answer(false, nan, nan), "");
  EXPECT_EQ(Answer(true, nan, nan), "");
}

TEST_F(SquadAnswersTest, RefusesLogitsOfAnotherLength) {
  EXPECT_THROW(Answer(false, {1, 2}, {1, 2}), InternalError);
}

}  // namespace
}  // namespace coppice
