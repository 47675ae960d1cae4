#include "load/gguf_types.h"

#include <array>

namespace coppice {
namespace {

constexpr GgmlType Number(uint32_t number) { return static_cast<GgmlType>(number); }

constexpr std::array<GgmlTypeInfo, 34> kTypes = {{
    {GgmlType::kF32, "F32", 1, 4},
    {GgmlType::kF16, "F16", 1, 2},
    {GgmlType::kQ4_0, "Q4_0", 32, 18},
    {GgmlType::kQ4_1, "Q4_1", 32, 20},
    {GgmlType::kQ5_0, "Q5_0", 32, 22},
    {GgmlType::kQ5_1, "Q5_1", 32, 24},
    {GgmlType::kQ8_0, "Q8_0", 32, 34},
    {Number(9), "Q8_1", 32, 40},
    {Number(10), "Q2_K", 256, 84},
    {Number(11), "Q3_K", 256, 110},
    {GgmlType::kQ4_K, "Q4_K", 256, 144},
    {GgmlType::kQ5_K, "Q5_K", 256, 176},
    {GgmlType::kQ6_K, "Q6_K", 256, 210},
    {Number(15), "Q8_K", 256, 292},
    {Number(16), "IQ2_XXS", 256, 66},
    {Number(17), "IQ2_XS", 256, 74},
    {Number(18), "IQ3_XXS", 256, 98},
    {Number(19), "IQ1_S", 256, 50},
    {Number(20), "IQ4_NL", 32, 18},
    {Number(21), "IQ3_S", 256, 110},
    {Number(22), "IQ2_S", 256, 82},
    {Number(23), "IQ4_XS", 256, 136},
    {Number(24), "I8", 1, 1},
    {Number(25), "I16", 1, 2},
    {Number(26), "I32", 1, 4},
    {Number(27), "I64", 1, 8},
    {Number(28), "F64", 1, 8},
    {Number(29), "IQ1_M", 256, 56},
    {GgmlType::kBF16, "BF16", 1, 2},
    {Number(34), "TQ1_0", 256, 54},
    {Number(35), "TQ2_0", 256, 66},
    {Number(39), "MXFP4", 32, 17},
    {Number(40), "NVFP4", 64, 36},
    {Number(41), "Q1_0", 128, 18},
}};

}  // namespace

const GgmlTypeInfo* FindGgmlType(GgmlType type) {
  for (const GgmlTypeInfo& info : kTypes) {
    if (info.type == type) return &info;
  }
  return nullptr;
}

}  // namespace coppice
