// One line of a .jsonl data file.
//
// A line with "question" and "context" is a question; any other line needs "text". Keys that are
// not known are ignored, so files with more columns can be used as they are; a key whose value is
// null counts as absent, as table libraries write it. Values are never converted: a label "1" or
// true is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "data/dataset.h"

namespace coppice {

// Reads the line `number` (from 1) of `file`; `line` is valid UTF-8. Throws Error (kBadInput).
Example ReadJsonLine(std::string_view line, const std::filesystem::path& file, int64_t number);

}  // namespace coppice
