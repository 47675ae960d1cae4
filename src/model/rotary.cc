#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "model/config_reader.h"
#include "model/decoder_family.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

// Llama 3's scaling: long wavelengths are stretched by `factor`, short ones stay, those between are
// mixed (Grattafiori et al. 2024; the formula is in the model's reference implementation).
double Llama3(double frequency, const ConfigReader& scaling) {
  const double factor = scaling.NumberOr("factor", 8);
  const double low = scaling.NumberOr("low_freq_factor", 1);
  const double high = scaling.NumberOr("high_freq_factor", 4);
  const double context = scaling.NumberOr("original_max_position_embeddings", 8192);
  const double turns = context * frequency / (2 * std::numbers::pi);  // over the old context
  if (turns < low) return frequency / factor;
  if (turns > high || high <= low) return frequency;
  const double smooth = (turns - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

// The object with the scaling's numbers, or an empty one: transformers 4 has rope_theta and
// rope_scaling, 5 has both in rope_parameters.
const Json& ScalingOf(const Json& config, const std::string& where) {
  static const Json nothing = Json::object();
  const ConfigReader read(config, where);
  const Json* parameters = read.Object("rope_parameters");
  const Json* scaling = parameters != nullptr ? parameters : read.Object("rope_scaling");
  return scaling != nullptr ? *scaling : nothing;
}

}  // namespace

RotaryForm ReadRotaryForm(const Json& config, const std::string& where) {
  const ConfigReader read(config, where);
  const ConfigReader rope(ScalingOf(config, where), where);
  const double theta = rope.NumberOr("rope_theta", read.NumberOr("rope_theta", 10000));
  const std::string kind = rope.TextOr("rope_type", rope.TextOr("type", "default"));
  const double factor = rope.NumberOr("factor", 1);
  if ((kind != "default" && kind != "linear" && kind != "llama3") || !(factor > 0) ||
      !(theta > 0)) {
    ThrowBadInput(
        {.what = "rotary positions of a kind that is not known",
         .where = where,
         .expected = "rope_type default, linear or llama3, a theta and factor above 0",
         .found = fmt::format("{}, factor {}, theta {}", Printable(kind), factor, theta)});
  }
  return {.kind = kind, .theta = theta, .factor = factor};
}

std::vector<float> RotaryFrequencies(const Json& config, int64_t head_width,
                                     const std::string& where) {
  const RotaryForm form = ReadRotaryForm(config, where);
  const ConfigReader scaling(ScalingOf(config, where), where);
  std::vector<float> frequencies;
  for (int64_t j = 0; j < head_width / 2; ++j) {
    double frequency =
        std::pow(form.theta, -2 * static_cast<double>(j) / static_cast<double>(head_width));
    if (form.kind == "linear") frequency /= form.factor;
    if (form.kind == "llama3") frequency = Llama3(frequency, scaling);
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

}  // namespace coppice
