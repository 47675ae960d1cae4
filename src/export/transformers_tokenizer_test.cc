// tokenizer.json made of a GGUF file's vocabulary, read by transformers: AutoTokenizer loads the
// folder and gives our ids. Needs what scripts/fetch_transformers installs (COPPICE_TRANSFORMERS
// names another Python that has transformers).
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "core/subprocess.h"
#include "export/gguf_vocabulary_keys.h"
#include "export/huggingface.h"
#include "model/decoder_testing.h"
#include "tokenize/gguf_tokenizer_json.h"
#include "tokenize/gguf_vocabulary.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string Python() {
  const char* const named = std::getenv("COPPICE_TRANSFORMERS");
  return named != nullptr ? named
                          : (SourceDir() / "build" / "transformers" / "bin" / "python").string();
}

const std::vector<std::string> kTexts = {
    "Hello, world!",
    "  two  spaces ",
    "\n\n\t \r\n end",
    "I'll we'RE it's 'S don'T",
    "1234567890 12.5 ٣٤٥ ½ Ⅷ",
    "naïve café Ångström e\u0301 \u212B \uFB01",
    "日本語 한국어 ไทย हिन्दी עברית",
    "😀👩‍👩‍👧‍👦🇩🇪",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|> <|im_start|",
    "a\u00A0b\u200Bc\u2028d\u3000e\u0085f",
    "!?!?...,,,;;--==$$++<<>>^~|",
    "snake_case camelCase HTTPServer x=1;y\t=2\n    return  None\n",
    "\uFEFFmark \u017Fong's",
};

class SlowTransformersTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(Python())) GTEST_SKIP() << "needs scripts/fetch_transformers";
  }

  // What transformers makes of the texts with the folder's tokenizer, and what we make of them.
  static void ExpectEqualIds(const fs::path& folder, const GgufVocabulary& vocabulary) {
    const fs::path script = SourceDir() / "src" / "export" / "transformers_tokens.py";
    const ProgramResult result =
        RunProgram({Python(), script.string(), folder.string()}, json(kTexts).dump());
    ASSERT_EQ(result.code, 0) << result.errors;
    const json ids = json::parse(result.output);
    const Tokenizer tokenizer = MakeGgufTokenizer(vocabulary, "test");
    for (size_t i = 0; i < kTexts.size(); ++i) {
      const Encoding ours =
          tokenizer.Encode(kTexts[i], std::nullopt, std::numeric_limits<size_t>::max());
      EXPECT_EQ(ids[i].get<std::vector<int32_t>>(), ours.ids) << kTexts[i];
    }
  }
};

TEST_F(SlowTransformersTokenizer, GivesOurIdsOfEveryKind) {
  for (const char* name : {"llama3", "qwen2", "smollm"}) {
    SCOPED_TRACE(name);
    GgufVocabulary vocabulary = ReadGgufVocabulary(SourceDir() / "testdata" / "tokenize-lm" /
                                                   (std::string(name) + ".json"));
    vocabulary.bos = 1;
    vocabulary.eos = 2;
    for (const bool add_bos : {false, true}) {
      vocabulary.add_bos = add_bos;
      const TempFolder folder;
      WriteFile(folder.path() / "config.json", R"({"model_type": "llama"})");
      WriteFile(folder.path() / "tokenizer.json", MakeTokenizerJson(vocabulary, name).text);
      WriteFile(folder.path() / "tokenizer_config.json", MakeTokenizerConfig(vocabulary, 64, ""));
      ExpectEqualIds(folder.path(), vocabulary);
    }
  }
}

TEST_F(SlowTransformersTokenizer, GivesOurIdsOfARealFile) {
  const fs::path real = RealModels() / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(real)) GTEST_SKIP() << "needs " << real;
  const Model model = LoadModel(real);
  const TempFolder folder;
  WriteHuggingFace(model, folder.path());
  EXPECT_EQ(TokenizerProblem(model), "");
  EXPECT_TRUE(ReadJson(folder.path() / "tokenizer_config.json").contains("chat_template"));
  ExpectEqualIds(folder.path(), VocabularyOf(*model.gguf));
}

}  // namespace
}  // namespace coppice
