// Options that several subcommands share, and how results look on stdout.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace coppice {

struct CommonOptions {
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;
  bool json = false;
  bool quiet = false;
};

void AddCommonOptions(CLI::App* command, CommonOptions* options);

// --seed: 0 to 2^63 - 1.
void AddSeedOption(CLI::App* command, const std::string& meaning, uint64_t* seed);

struct ImageSampling;

// --guidance, --temperature, --top-k.
void AddSamplingOptions(CLI::App* command, ImageSampling* sampling);

void PrintJson(const nlohmann::ordered_json& json);

// 12345678 -> "12.3 M"; bytes -> "47.1 MB".
std::string Count(int64_t number);
std::string Bytes(int64_t bytes);

}  // namespace coppice
