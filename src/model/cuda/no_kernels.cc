// In place of the kernels in a build without CUDA.
#include "core/error.h"
#include "model/cuda/kernels.h"
#include "model/cuda/products.h"

namespace coppice::cuda {
namespace {

void Refuse() { Check(false, "this build has no kernels of its own"); }

}  // namespace

bool Available(int) { return false; }

std::string NameOf(int) { return {}; }

int64_t MostAttentionTokens(int) { return 0; }

Stream CurrentStream() { return nullptr; }

bool Multiply(const Product&, void*, void*, Stream) { return false; }

void* ProductHandle() { return nullptr; }

void Launch(const SumAndNorm&, float*, void*, Stream) { Refuse(); }
void Launch(const SumAndNormGradient&, float*, void*, Stream) { Refuse(); }
void Launch(const EmbedAndNorm&, float*, void*, Stream) { Refuse(); }
void Launch(const Attention&, void*, Stream) { Refuse(); }
void Launch(const AttentionGradient&, void*, float*, Stream) { Refuse(); }
void Launch(const Gelu&, void*, Stream) { Refuse(); }
void Launch(const GeluGradient&, void*, float*, Stream) { Refuse(); }
void Launch(const RmsNorm&, void*, Stream) { Refuse(); }
void Launch(const RmsNormGradient&, float*, Stream) { Refuse(); }
void Launch(const LogSumExp&, float*, Stream) { Refuse(); }
void Launch(const NextTokenGradient&, void*, float*, Stream) { Refuse(); }
void Launch(const GatedSilu&, void*, Stream) { Refuse(); }
void Launch(const GatedSiluGradient&, void*, void*, Stream) { Refuse(); }
void Launch(const ProductSums&, float*, Stream) { Refuse(); }
void Launch(const RowSums&, double*, double*, Stream) { Refuse(); }
void Launch(const Rotation&, void*, Stream) { Refuse(); }

}  // namespace coppice::cuda
