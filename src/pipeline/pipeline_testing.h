// What tests of the pipeline share: a folder with small data files for the tiny models.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/console.h"
#include "pipeline/prune.h"
#include "testdata.h"

namespace coppice {

inline const Console kQuiet(true);

class PipelineTest : public testing::Test {
 protected:
  std::filesystem::path Write(const std::string& name, const std::string& text) const {
    WriteFile(folder_.path() / name, text);
    return folder_.path() / name;
  }

  // data.jsonl with 32 labelled examples of the model's task.
  std::filesystem::path DataFor(const std::string& model) const {
    constexpr const char* kWho[] = {"cat", "dog", "bird", "old man"};
    constexpr const char* kDid[] = {"sat on the river", "saw the good book", "ran to the city",
                                    "made it"};
    const bool answering = model.ends_with("question-answering");
    std::string text;
    for (int i = 0; i < 32; ++i) {
      const std::string who = kWho[i % 4], did = kDid[i / 4 % 4];
      const std::string sentence = fmt::format(
          "The {} {}{}", who, did, i < 16 ? "." : ", and they like the slow red house!");
      nlohmann::ordered_json line;
      if (answering) {
        line = {{"id", std::to_string(i)},
                {"question", fmt::format("Who {}?", did)},
                {"context", sentence},
                {"answers", {{"text", {who}}, {"answer_start", {4}}}}};
      } else {
        line["text"] = sentence;
        if (i % 3 == 0) line["text_pair"] = "Was it good?";
        if (model.ends_with("regression")) line["label"] = 0.25 * i - 2;
        if (model.ends_with("classification")) line["label"] = i * 7 % 3;
      }
      text += line.dump() + "\n";
    }
    return Write("data.jsonl", text);
  }

  // A prune of a tiny model on a few examples, the same on every machine. Into `out` of the folder.
  PruneOptions TinyOptions(const std::string& model, double keep, const std::string& out = "out") {
    PruneOptions options;
    options.model = TinyFolder(model);
    options.data = {{DataFor(model)}};
    options.out = folder_.path() / out;
    options.keep = keep;
    options.samples = 24;
    options.dtype = "float32";
    options.device = "cpu";
    options.threads = 1;
    return options;
  }

  TempFolder folder_;
};

}  // namespace coppice
