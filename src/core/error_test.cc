#include "core/error.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

std::string Line(const Problem& problem) { return Error(ExitCode::kBadInput, problem).what(); }

TEST(Error, LineHoldsTheAnswersThatAreThere) {
  EXPECT_EQ(Line({.what = "bad"}), "bad");
  EXPECT_EQ(Line({.what = "bad", .where = "a.json"}), "a.json: bad");
  EXPECT_EQ(Line({.what = "bad", .expected = "1"}), "bad: expected 1");
  EXPECT_EQ(Line({.what = "bad", .found = "2"}), "bad: found 2");
  EXPECT_EQ(Line({.what = "bad", .where = "a", .expected = "1", .found = "2", .hint = "mend it"}),
            "a: bad: expected 1, found 2; mend it");
}

template <typename Throw>
ExitCode CodeOf(Throw thrower) {
  try {
    thrower(Problem{.what = "x"});
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "x");
    return error.code();
  }
  return ExitCode::kOk;
}

TEST(Error, EachKindHasItsExitCode) {
  EXPECT_EQ(static_cast<int>(CodeOf(ThrowUsage)), 2);
  EXPECT_EQ(static_cast<int>(CodeOf(ThrowBadInput)), 3);
  EXPECT_EQ(static_cast<int>(CodeOf(ThrowBudget)), 4);
  EXPECT_EQ(static_cast<int>(CodeOf(ThrowEnvironment)), 5);
}

TEST(Error, CheckThrowsInternalErrorOnly) {
  EXPECT_NO_THROW(Check(true, "fine"));
  try {
    Check(false, "broken");
    FAIL();
  } catch (const InternalError& error) {
    EXPECT_STREQ(error.what(), "broken");
  }
}

TEST(Printable, ReplacesControlCharacters) {
  EXPECT_EQ(Printable("a\nb\tc\x7f"
                      "d\x1b[0m"),
            "a b c d [0m");
  EXPECT_EQ(Printable(std::string_view("a\0b", 3)), "a b");
  EXPECT_EQ(Printable("caf\xc3\xa9"), "caf\xc3\xa9");
}

TEST(Printable, CutsLongTextAtTheLimit) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(Printable("", 0), "");
  EXPECT_EQ(Printable("a", 0), "...");
}

TEST(Printable, NeverCutsInsideACharacter) {
  const std::string text =
      "ab\xe2\x82\xac"
      "cd";  // "ab", the euro sign, "cd"
  EXPECT_EQ(Printable(text, 3), "ab...");
  EXPECT_EQ(Printable(text, 4), "ab...");
  EXPECT_EQ(Printable(text, 6),
            "ab\xe2\x82\xac"
            "c...");
}

}  // namespace
}  // namespace coppice
