#include "latency/onnx_clock.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json_text.h"
#include "core/subprocess.h"
#include "core/temporary_folder.h"
#include "export/onnx.h"
#include "export/onnx_encoder.h"
#include "export/onnx_writer.h"
#include "latency/time_onnx_script.h"

namespace coppice {
namespace {

using Json = nlohmann::json;

Json Ask(const Json& request, const std::string& where) {
  constexpr int kNoRuntime = 69;  // of the script
  constexpr int kNoProgram = 127;
  const ProgramResult result =
      RunProgram({PythonProgram(), "-c", std::string(kTimeOnnxScript)}, JsonText(request));
  if (result.code == kNoProgram || result.code == kNoRuntime) {
    ThrowEnvironment({.what = "onnxruntime is not at hand",
                      .where = PythonProgram(),
                      .expected = "a Python that can import it",
                      .hint = "name one in COPPICE_PYTHON, or use the runtime coppice"});
  }
  const Json answer = Json::parse(result.output, nullptr, /*allow_exceptions=*/false);
  if (result.code == 0 && !answer.is_discarded()) return answer;
  ThrowBadInput({.what = "onnxruntime cannot run this",
                 .where = where,
                 .found = Printable(LastLine(result.errors), 300)});
}

}  // namespace

OnnxTimes TimeOnnxFiles(const std::vector<std::filesystem::path>& files, int64_t vocabulary,
                        const LatencySetting& setting, const Rounds& rounds) {
  Json request = {{"batch", setting.batch},    {"tokens", setting.tokens},
                  {"vocabulary", vocabulary},  {"threads", setting.threads},
                  {"least", rounds.least},     {"most", rounds.most},
                  {"seconds", rounds.seconds}, {"files", Json::array()}};
  for (const std::filesystem::path& file : files) request["files"].push_back(file.string());
  const Json answer = Ask(request, files.size() == 1 ? files[0].string() : "the files");
  OnnxTimes times{answer.at("runtime").get<std::string>(), {}};
  for (const Json& ms : answer.at("ms"))
    times.timings.push_back(Summarize(ms.get<std::vector<double>>()));
  return times;
}

std::vector<Timing> TimeInOnnxRuntime(const std::vector<Model>& models,
                                      const LatencySetting& setting, const Rounds& rounds,
                                      const Console& console) {
  const TemporaryFolder folder;
  std::vector<std::filesystem::path> files;
  int64_t vocabulary = models.front().spec.vocabulary;
  for (const Model& model : models) {
    RequireOnnxForm(model);
    vocabulary = std::min(vocabulary, model.spec.vocabulary);
    files.push_back(folder.path() / fmt::format("{}.onnx", files.size()));
    WriteOnnxFile(MakeOnnxEncoder(model, setting.style), files.back());
  }
  console.Note(fmt::format("latency: {} files in onnxruntime", files.size()));
  return TimeOnnxFiles(files, vocabulary, setting, rounds).timings;
}

std::string OnnxRuntimeVersion() {
  return Ask({{"files", Json::array()}, {"threads", 1}}, "").at("runtime").get<std::string>();
}

}  // namespace coppice
