// The program's version, as files and --version state it.
#pragma once

namespace coppice {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace coppice
