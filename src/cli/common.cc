#include "cli/common.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "core/json_text.h"
#include "pipeline/generate.h"

namespace coppice {
namespace {

std::string Scaled(double number, std::string_view unit) {
  constexpr std::array<const char*, 5> kPrefixes = {"", "k", "M", "G", "T"};
  size_t step = 0;
  while (std::abs(number) >= 1000 && step + 1 < kPrefixes.size()) {
    number /= 1000;
    ++step;
  }
  if (step == 0 && unit.empty()) return fmt::format("{:.0f}", number);
  return fmt::format("{:.{}f} {}{}", number, step == 0 ? 0 : 1, kPrefixes[step], unit);
}

}  // namespace

void AddCommonOptions(CLI::App* command, CommonOptions* options) {
  command->add_option("--device", options->device, "cpu, cuda, cuda:N or auto")
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "float32, bfloat16 or auto")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "processor threads; 0: all")
      ->check(CLI::Range(0, 4096));
  command->add_flag("--json", options->json, "machine-readable result on stdout");
  command->add_flag("--quiet", options->quiet, "no progress");
}

void AddSeedOption(CLI::App* command, const std::string& meaning, uint64_t* seed) {
  command->add_option("--seed", *seed, meaning)
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
}

void AddSamplingOptions(CLI::App* command, ImageSampling* sampling) {
  command->add_option("--guidance", sampling->guidance, "images: strength of the class; 1: none")
      ->capture_default_str();
  command->add_option("--temperature", sampling->temperature, "images: of drawing, above 0")
      ->capture_default_str();
  command->add_option("--top-k", sampling->top_k, "images: tokens drawn from; 0: all")
      ->capture_default_str();
}

void PrintJson(const nlohmann::ordered_json& json) { fmt::print("{}\n", JsonText(json, 2)); }

std::string Count(int64_t number) { return Scaled(static_cast<double>(number), ""); }
std::string Bytes(int64_t bytes) { return Scaled(static_cast<double>(bytes), "B"); }

}  // namespace coppice
