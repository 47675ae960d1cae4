#include "data/dataset.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

testing::AssertionResult Contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no \"" << part << "\" in \"" << text << "\"";
}

class DatasetTest : public testing::Test {
 protected:
  DatasetTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("coppice_dataset_") + test->name());
    std::filesystem::create_directories(folder_);
  }
  ~DatasetTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path Write(const std::string& name, const std::string& bytes) const {
    const auto file = folder_ / name;
    std::ofstream(file, std::ios::binary) << bytes;
    return file;
  }

  std::filesystem::path WriteGzip(const std::string& name, const std::string& text) const {
    const auto file = folder_ / name;
    gzFile stream = gzopen(file.c_str(), "wb");
    gzwrite(stream, text.data(), static_cast<unsigned>(text.size()));
    gzclose(stream);
    return file;
  }

  // The line of the Error that reading `bytes` as `name` throws, or "" if none.
  std::string ErrorOf(const std::string& bytes, const std::string& name = "data.jsonl") const {
    return ErrorOfFile(Write(name, bytes));
  }

  static std::string ErrorOfFile(const std::filesystem::path& file) {
    try {
      ReadDataset(file);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
      EXPECT_TRUE(Contains(error.what(), file.filename().string()));
      EXPECT_FALSE(Contains(error.what(), "\n"));
      return error.what();
    }
    return "";
  }

  std::filesystem::path folder_;
};

constexpr const char* kQuestion =
    R"({"id": "q1", "question": " Wo?", "context": "Über Grün", "answers": {"text": ["Grün"], "answer_start": [5]}})";

TEST_F(DatasetTest, ReadsTextsPairsAndLabels) {
  const Dataset data =
      ReadDataset(Write("data.jsonl", R"({"text": "one", "label": 2, "other": [1, {}]})"
                                      "\n"
                                      R"({"text": "two", "text_pair": "\u00fc\n", "label": -0.25})"
                                      "\n"
                                      R"({"text": "", "text_pair": null, "label": null})"
                                      "\n"));
  ASSERT_EQ(data.examples.size(), 3u);
  EXPECT_EQ(data.examples[0].text, "one");
  EXPECT_EQ(data.examples[0].text_pair, std::nullopt);
  EXPECT_EQ(data.examples[0].label, 2.0);
  EXPECT_FALSE(data.examples[0].is_question);
  EXPECT_EQ(data.examples[1].text_pair, "ü\n");
  EXPECT_EQ(data.examples[1].label, -0.25);
  EXPECT_EQ(data.examples[1].line, 2);
  EXPECT_EQ(data.examples[2].text, "");
  EXPECT_EQ(data.examples[2].text_pair, std::nullopt);
  EXPECT_EQ(data.examples[2].label, std::nullopt);
}

TEST_F(DatasetTest, ReadsQuestions) {
  const Dataset data = ReadDataset(Write(
      "data.jsonl",
      std::string(kQuestion) + "\n" +
          R"({"question": "b", "context": "", "text": "c", "answers": {"text": [], "answer_start": []}})"));
  ASSERT_EQ(data.examples.size(), 2u);
  const Example& first = data.examples[0];
  EXPECT_TRUE(first.is_question);
  EXPECT_EQ(first.id, "q1");
  EXPECT_EQ(first.text, " Wo?");
  EXPECT_EQ(first.text_pair, "Über Grün");
  EXPECT_EQ(first.answers, std::vector<std::string>{"Grün"});
  EXPECT_EQ(first.answer_starts, std::vector<int64_t>{5});
  EXPECT_TRUE(data.examples[1].is_question);
  EXPECT_EQ(data.examples[1].text, "b");
  EXPECT_TRUE(data.examples[1].answers.empty());
}

TEST_F(DatasetTest, PassesOverMarkLineEndsAndBlankLines) {
  const Dataset data = ReadDataset(
      Write("data.jsonl", "\xEF\xBB\xBF{\"text\": \"a\"}\r\n\r\n \t\n{\"text\": \"b\"}\r\n\r\n"));
  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_EQ(data.examples[1].text, "b");
  EXPECT_EQ(data.examples[1].line, 4);
}

TEST_F(DatasetTest, LimitKeepsTheFirstExamples) {
  const auto file =
      Write("data.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n");
  EXPECT_EQ(ReadDataset(file, 2).examples.size(), 2u);
  EXPECT_EQ(ReadDataset(file, 2).examples[1].text, "b");
  EXPECT_EQ(ReadDataset(file, 9).examples.size(), 3u);
}

TEST_F(DatasetTest, TakesPlainTextWhole) {
  const Dataset data = ReadDataset(Write("data.txt", "\xEF\xBB\xBF One\r\n\r\ntwo\rthree\n"));
  ASSERT_EQ(data.examples.size(), 1u);
  EXPECT_EQ(data.examples[0].text, " One\n\ntwo\rthree\n");
  EXPECT_EQ(data.examples[0].line, 1);
}

TEST_F(DatasetTest, ReadsGzip) {
  EXPECT_EQ(ReadDataset(WriteGzip("data.txt.gz", "Grüße\n")).examples[0].text, "Grüße\n");
  std::string lines;
  for (int i = 0; i < 200000; ++i) lines += "{\"text\": \"abc\"}\n";  // several chunks
  EXPECT_EQ(ReadDataset(WriteGzip("data.jsonl.gz", lines)).examples.size(), 200000u);
}

TEST_F(DatasetTest, RefusesBadGzip) {
  EXPECT_TRUE(Contains(ErrorOf("plain text", "data.txt.gz"), "not a gzip file"));
  EXPECT_NE(ErrorOf("", "data.txt.gz"), "");
  const auto file = WriteGzip("whole.txt.gz", std::string(5000, 'x') + "the end");
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  for (size_t size = 3; size < bytes.size(); ++size) {
    EXPECT_NE(ErrorOf(bytes.substr(0, size), "cut.txt.gz"), "") << "cut to " << size;
  }
  std::string changed = bytes;
  changed[bytes.size() - 6] ^= 1;  // in the checksum
  EXPECT_TRUE(Contains(ErrorOf(changed, "changed.txt.gz"),
                       "corrupt gzip file: found incorrect data check"));
}

TEST_F(DatasetTest, LimitsUnpackedText) {
  const auto file = WriteGzip("zeros.txt.gz", std::string(10000, '0'));
  EXPECT_EQ(ReadText(file, 10000).size(), 10000u);
  EXPECT_THROW(ReadText(file, 9999), Error);
}

TEST_F(DatasetTest, RefusesFilesThatCannotBeUsed) {
  EXPECT_NE(ErrorOfFile(folder_ / "missing.jsonl"), "");
  EXPECT_NE(ErrorOfFile(folder_ / "missing.jsonl.gz"), "");
  std::filesystem::create_directories(folder_ / "folder.jsonl");
  std::filesystem::create_directories(folder_ / "folder.txt.gz");
  EXPECT_NE(ErrorOfFile(folder_ / "folder.jsonl"), "");
  EXPECT_TRUE(Contains(ErrorOfFile(folder_ / "folder.txt.gz"), "a folder"));
  EXPECT_TRUE(Contains(ErrorOf("", "data.jsonl"), "no examples"));
  EXPECT_TRUE(Contains(ErrorOf(" \r\n\n", "data.jsonl"), "no examples"));
  EXPECT_TRUE(Contains(ErrorOf("\xEF\xBB\xBF\n", "data.txt"), "no examples"));
  EXPECT_TRUE(Contains(ErrorOf("{}", "data.json"), ".jsonl, .txt, .jsonl.gz or .txt.gz"));
  EXPECT_TRUE(Contains(ErrorOf("{}", "jsonl"), "unknown kind of data file"));
}

TEST_F(DatasetTest, RefusesWhatIsNotUtf8) {
  EXPECT_TRUE(
      Contains(ErrorOf("{\"text\": \"a\"}\n{\"text\": \"\xFC\"}\n"), "data.jsonl:2: not UTF-8"));
  EXPECT_TRUE(Contains(ErrorOf("ok\nok\n\xED\xA0\x80", "data.txt"), "data.txt:3: not UTF-8"));
  EXPECT_TRUE(Contains(ErrorOf("cut \xC3", "data.txt"), "byte 0xc3"));
}

TEST_F(DatasetTest, RefusesMalformedLines) {
  const std::string good = "{\"text\": \"a\"}\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"text": "a")", "malformed JSON"},
      {R"({"text": "a"} {"text": "b"})", "malformed JSON"},
      {R"({"text": "a", "label": NaN})", "malformed JSON"},
      {R"({"text": "a", "label": 1e999})", "malformed JSON"},
      {R"({"text": "\ud800"})", "malformed JSON"},
      {std::string(100000, '['), "malformed JSON"},
      {R"(["text"])", "expected one JSON object a line, found array"},
      {std::string(500000, '[') + std::string(500000, ']'), "found array"},
      {"7", "found number 7"},
      {"{}", "the key \"text\" is missing"},
      {R"({"text": null})", "the key \"text\" is missing"},
      {R"({"question": "a"})", "the key \"context\" is missing"},
      {R"({"context": "a"})", "the key \"question\" is missing"},
      {R"({"text": 1})", "expected a string, found number 1"},
      {R"({"text": "a", "text_pair": ["b"]})", "\"text_pair\" has the wrong type"},
      {R"({"text": "a", "label": "1"})", "expected a number, found string \"1\""},
      {R"({"text": "a", "label": true})", "expected a number, found boolean true"},
      {kQuestion, "questions and texts in one file"},
  };
  for (const auto& [line, message] : cases) {
    const std::string error = ErrorOf(good + line + "\n");
    EXPECT_TRUE(Contains(error, "data.jsonl:2: ")) << line.substr(0, 60);
    EXPECT_TRUE(Contains(error, message)) << line.substr(0, 60);
  }
}

TEST_F(DatasetTest, RefusesMalformedAnswers) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "the key \"answers\" is missing"},
      {R"(, "answers": [])", "expected an object, found array"},
      {R"(, "answers": {"text": []})", "the key \"answers.answer_start\" is missing"},
      {R"(, "answers": {"text": "b", "answer_start": [0]})", "expected a list"},
      {R"(, "answers": {"text": ["b"], "answer_start": []})", "differ in length"},
      {R"(, "answers": {"text": [1], "answer_start": [0]})", "expected strings"},
      {R"(, "answers": {"text": ["b"], "answer_start": [0.0]})", "expected integers"},
      {R"(, "answers": {"text": ["b"], "answer_start": [-1]})", "answer_start -1"},
      {R"(, "answers": {"text": ["b"], "answer_start": [18446744073709551615]})",
       "outside the context"},
      {R"(, "answers": {"text": ["üü"], "answer_start": [3]})", "2 code points within 4"},
      {R"(, "answers": {"text": ["abcde"], "answer_start": [0]})", "outside the context"},
      {R"(, "id": 7, "answers": {"text": [], "answer_start": []})", "\"id\" has the wrong type"},
  };
  for (const auto& [rest, message] : cases) {
    EXPECT_TRUE(Contains(ErrorOf(R"({"question": "a", "context": "äbüü")" + rest + "}"), message))
        << rest;
  }
  EXPECT_EQ(
      ErrorOf(
          R"({"question": "a", "context": "äbüü", "answers": {"text": ["üü"], "answer_start": [2]}})"),
      "");
}

TEST_F(DatasetTest, ReadsTheSharedFiles) {
  const char* shared = std::getenv("COPPICE_SHARED");
  const auto folder =
      std::filesystem::path(shared != nullptr ? shared : COPPICE_SOURCE_DIR "/../shared") / "data";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs ../shared/data";
  EXPECT_EQ(ReadDataset(folder / "squad-dev.jsonl").examples.size(), 2643u);
  EXPECT_EQ(ReadDataset(folder / "sst2-dev.jsonl").examples.front().label, 1.0);
  EXPECT_EQ(ReadDataset(folder / "stsb-dev.jsonl").examples[1].label, 4.75);
  EXPECT_EQ(ReadDataset(folder / "wikitext2-test.txt").examples.size(), 1u);
}

}  // namespace
}  // namespace coppice
