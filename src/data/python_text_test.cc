#include "data/python_text.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(PythonTextTest, SpacesAreThoseOfIsspace) {
  for (const char32_t c :
       U"\t\n\v\f\r\x1c\x1f \x85\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000") {
    EXPECT_EQ(IsPythonSpace(c), c != 0) << std::hex << static_cast<uint32_t>(c);
  }
  for (const char32_t c : U"a_\x1b\u200b\u2060\ufeff\u180e") {
    EXPECT_FALSE(IsPythonSpace(c)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(PythonTextTest, WordCharactersAreLettersAndNumbers) {
  for (const char32_t c :
       {U'a', U'_', U'7', U'\u00e4', U'\u00b2', U'\u2167', U'\u4e00', U'\u00aa'}) {
    EXPECT_TRUE(IsPythonWord(c)) << std::hex << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U' ', U'-', U'\u0301', U'\u0903', U'\u20ac', U'\U0001f642'}) {
    EXPECT_FALSE(IsPythonWord(c)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(PythonTextTest, LowerCaseIsTheFullMapping) {
  EXPECT_EQ(PythonLower("ÄB"), U"äb");
  EXPECT_EQ(PythonLower("İ"), U"i\u0307");
  EXPECT_EQ(PythonLower("ΟΔΟΣ ΣΑ"), U"οδος σα");
}

TEST(PythonTextTest, DropsLeadingSpaceAlone) {
  EXPECT_EQ(WithoutLeadingSpace(" \u3000\u00a0\ta b "), "a b ");
  EXPECT_EQ(WithoutLeadingSpace("ü "), "ü ");
  EXPECT_EQ(WithoutLeadingSpace(" \n"), "");
  EXPECT_EQ(WithoutLeadingSpace(" \xff "), "\xff ");
}

TEST(PythonTextTest, FindsCodePoints) {
  const std::string_view text = "aü\U0001f642";
  EXPECT_EQ(CountCodePoints(text), 3u);
  EXPECT_EQ(ByteOfCodePoint(text, 0), 0u);
  EXPECT_EQ(ByteOfCodePoint(text, 2), 3u);
  EXPECT_EQ(ByteOfCodePoint(text, 3), 7u);
  EXPECT_EQ(ByteOfCodePoint(text, 4), std::nullopt);
  EXPECT_EQ(ByteOfCodePoint("", 0), 0u);
}

TEST(PythonTextTest, FindsWhatIsNotUtf8) {
  EXPECT_EQ(FirstInvalidByte("aü\U0001f642"), std::nullopt);
  EXPECT_EQ(FirstInvalidByte("aü\xc0\xaf"), 3u);        // overlong
  EXPECT_EQ(FirstInvalidByte("\xed\xa0\x80"), 0u);      // a surrogate
  EXPECT_EQ(FirstInvalidByte("ab\xf0\x9f\x99"), 2u);    // cut short
  EXPECT_EQ(FirstInvalidByte("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
}

}  // namespace
}  // namespace coppice
