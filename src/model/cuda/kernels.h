// Kernels of our own for what stands between products on an NVIDIA GPU.
//
// Products of 576 or 768 columns take so little time there that what stands between them takes
// longer: LibTorch's kernels for it move every number several times. These move it once. They are
// what model/residual_norm.h, model/short_attention.h and model/text_gelu.h launch for encoders,
// model/rms_norm.h, model/rotation.h, model/gated_silu.h and model/distribution.h for decoders,
// model/unit_sums.h and model/row_sums.h for both, which check shapes and allocate; those say what
// is computed. Nothing here knows of LibTorch.
//
// Pointers are to the device's memory, to float where a type does not say otherwise; "bfloat16"
// stands at those that are void. Rows are contiguous. A build without CUDA has no_kernels.cc
// instead, in which Available() is false and nothing else may be called.
#pragma once

#include <cstdint>
#include <string>

struct CUstream_st;

namespace coppice::cuda {

using Stream = CUstream_st*;

// Whether this build has kernels, and the GPU of this number, or at -1 the current one, runs them.
bool Available(int device);

// The name of the GPU of this number, or at -1 of the current one; empty without one.
std::string NameOf(int device);

// LibTorch's on the current device. Kernels are launched where their memory is current.
Stream CurrentStream();

// The rows' norm: mean and deviation of what is summed up are removed, D columns.
struct NormShape {
  int64_t rows;
  int64_t width;  // D, a multiple of 4, kMostNormColumns at most
  float epsilon;
};
inline constexpr int64_t kMostNormColumns = 1024;

struct SumAndNorm {
  NormShape shape;
  const float* hidden;  // (M, D)
  const float* branch;  // (M, D)
  const void* bias;     // (D) bfloat16 of the branch, or null
  const float* weight;  // (D) of the norm
  const float* shift;   // (D) of the norm
};
// exact: (M, D). rounded: (M, D) bfloat16, the same, or null.
void Launch(const SumAndNorm& sum, float* exact, void* rounded, Stream stream);

// The gradient by the sum. by_exact: (M, D). by_rounded: (M, D) bfloat16. Either may be null.
struct SumAndNormGradient {
  SumAndNorm forward;
  const float* by_exact;
  const void* by_rounded;
};
// exact: (M, D). rounded: (M, D) bfloat16, the same.
void Launch(const SumAndNormGradient& gradient, float* exact, void* rounded, Stream stream);

// Norm of a sum of three tables' rows; the tables are all float or all bfloat16.
struct EmbedAndNorm {
  NormShape shape;
  bool rounded;           // whether the tables are bfloat16
  const void* word;       // (V, D)
  const void* position;   // (P, D)
  const void* type;       // (types, D), or null
  const int64_t* ids;     // (M)
  const int64_t* places;  // (M) rows of `position`
  const int64_t* types;   // (M), or null
  const float* weight;    // (D)
  const float* shift;     // (D)
};
void Launch(const EmbedAndNorm& sum, float* exact, void* rounded, Stream stream);

// Where texts stand among rows: B of them, T tokens at most.
struct Texts {
  int64_t count, tokens;   // B, T
  const int64_t* starts;   // (B) row of each one's first token, or null: every T rows
  const int64_t* lengths;  // (B) its tokens, or null: all T
};

// Attention of texts, H heads of K numbers a query and key, F a value.
struct Attention {
  Texts texts;
  int64_t heads, key_width, value_width;  // H, K, F
  float scale;
  const void* joined;       // (M, H * (2 K + F)) bfloat16: queries, keys, values
  const float* bias;        // (buckets, H) of the scores, or null
  const int64_t* distance;  // (2 T - 1) bucket of key - query, from -(T - 1) on; null without bias
};
inline constexpr int64_t kMostHeadWidth = 128;  // K and F, both multiples of 16
// T: 128, or 64 where the GPU of this number, at -1 the current one, has less shared memory a block
// than a gradient takes.
int64_t MostAttentionTokens(int device);
// mixed: (M, H * F) bfloat16, of which the texts' rows are written.
void Launch(const Attention& attention, void* mixed, Stream stream);

struct AttentionGradient {
  Attention forward;
  const void* by_mixed;  // (M, H * F) bfloat16
};
// by_joined: (M, H * (2 K + F)) bfloat16, of which the texts' rows are written. by_mask: (B, H),
// sums of mixed * by_mixed.
void Launch(const AttentionGradient& gradient, void* by_joined, float* by_mask, Stream stream);

// y = x Phi(x), each of n numbers.
struct Gelu {
  int64_t numbers;
  const void* x;  // (n) bfloat16
};
void Launch(const Gelu& gelu, void* y, Stream stream);

struct GeluGradient {
  Texts texts;
  int64_t channels;  // C, a multiple of 8
  const void* x;     // (M, C) bfloat16
  const void* by_y;  // (M, C) bfloat16
};
inline constexpr int64_t kGeluTokens = 64;  // that are summed up by one thread
// by_x: (M, C) bfloat16, of which the texts' rows are written. by_mask: (B, T / kGeluTokens, C), T
// rounded up, sums of y * by_y.
void Launch(const GeluGradient& gradient, void* by_x, float* by_mask, Stream stream);

// y = x / sqrt(mean(x^2) + epsilon) weight. The width is any multiple of 4.
struct RmsNorm {
  NormShape shape;
  const float* x;       // (M, D)
  const float* weight;  // (D)
};
// y: (M, D) bfloat16.
void Launch(const RmsNorm& norm, void* y, Stream stream);

struct RmsNormGradient {
  RmsNorm forward;
  const void* by_y;     // (M, D) bfloat16
  const float* beside;  // (M, D) the gradient by x of all else, or null
};
// by_x: (M, D), the sum of both.
void Launch(const RmsNormGradient& gradient, float* by_x, Stream stream);

// log sum exp of rows, or less the sum of their products with shares, which sum up to one: the
// cross entropy.
struct LogSumExp {
  int64_t rows, width;  // M, V, a multiple of 4
  const float* logits;  // (M, V)
  const float* shares;  // (M, V), or null
};
// results: (M).
void Launch(const LogSumExp& logits, float* results, Stream stream);

// softmax(logits) less one at the next token.
struct NextTokenGradient {
  int64_t rows, width;  // M, V, a multiple of 4
  const float* logits;  // (M, V)
  const int64_t* next;  // (M), tokens
};
// by_logits: (M, V) bfloat16. likely: (M) the softmax at the next token.
void Launch(const NextTokenGradient& gradient, void* by_logits, float* likely, Stream stream);

// x = gate / (1 + exp(-gate)) up.
struct GatedSilu {
  int64_t rows, channels;  // M, C, a multiple of 8; 2^34 numbers at most
  int64_t stride;          // from a row of gate to the next, as of up; a multiple of 8
  const void* gate;        // (M, C) bfloat16
  const void* up;          // (M, C) bfloat16
};
// x: (M, C) bfloat16.
void Launch(const GatedSilu& gated, void* x, Stream stream);

struct GatedSiluGradient {
  GatedSilu forward;
  const void* by_x;  // (M, C) bfloat16
};
// by_gate, by_up: (M, C) bfloat16, with rows as far apart as those of gate and up.
void Launch(const GatedSiluGradient& gradient, void* by_gate, void* by_up, Stream stream);

// Sums of x y over parts of rows of each text's tokens.
struct ProductSums {
  int64_t texts, tokens, columns;  // B, T, C, a multiple of 8
  int64_t rows, row_tokens;        // R of so many tokens, the last of what is left
  int64_t parts, part_tokens;      // P of a row, of so many tokens, the last of what is left
  const void* x;                   // (B, T, C) bfloat16
  const void* y;                   // (B, T, C) bfloat16
};
// of_parts: (B, R, P, C).
void Launch(const ProductSums& sums, float* of_parts, Stream stream);

// Sums of a matrix' rows, of some rows each.
struct RowSums {
  int64_t rows, columns;  // M, C, a multiple of 4
  int64_t part_rows;      // of a part; 65535 parts at most
  bool rounded;           // x is bfloat16, else float
  const void* x;          // (M, C)
};
// sums, squares: (P, C) of numbers and of their squares, of M / part_rows parts, rounded up;
// squares may be null.
void Launch(const RowSums& rows, double* sums, double* squares, Stream stream);

// Where numbers (B, H, T, K) are, in numbers from the first, multiples of 8; K are side by side.
struct HeadStrides {
  int64_t text, head, token;
};

// Pairs of numbers turned by angles of their token.
struct Rotation {
  int64_t texts, heads, tokens, width;  // B, H, T, K, a multiple of 16; 2^36 numbers a head at most
  HeadStrides from, to;
  const void* x;        // (B, H, T, K) bfloat16
  const float* cosine;  // (T, K), of a pair's two numbers alike
  const float* sine;    // (T, K)
  bool neighbours;      // whether pairs are columns (2j, 2j + 1); else they are (j, K / 2 + j)
  bool back;            // whether they turn the other way
};
// turned: (B, H, T, K) bfloat16.
void Launch(const Rotation& rotation, void* turned, Stream stream);

}  // namespace coppice::cuda
