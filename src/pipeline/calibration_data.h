// Where calibration samples come from: data files with weights, or the language model itself.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"

namespace coppice {

// A data file and its share of the samples, in proportion to the other files' weights.
struct DataPart {
  std::filesystem::path file;
  double weight = 1;
};

// In place of a data file: what the model itself draws.
inline constexpr const char* kSelf = "self";

// "FILE" or "FILE=WEIGHT"; a file whose name holds an equals sign is taken as it is if it is there.
// Throws Error (kUsage) for a weight that is not a positive number.
DataPart ParseDataPart(const std::string& text);

// options.count samples, of each file as many as its weight says, one at least; file after file. A
// file that has fewer gives all it has. Throws Error as DrawSamples() does; kUsage for kSelf and a
// model that is not a language model.
Samples DrawCalibration(const Network& net, const Tokenizer& tokenizer,
                        const std::vector<DataPart>& parts, const DrawOptions& options,
                        const Console& console);

// "a.txt, b.jsonl": for messages.
std::string DescribeParts(const std::vector<DataPart>& parts);

}  // namespace coppice
