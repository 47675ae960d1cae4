#include "model/cuda/products.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.h"

namespace coppice::cuda {
namespace {

// Which of a class's shapes kernels are chosen for.
struct Size {
  int64_t rows, columns, inner;
};

constexpr int64_t kNarrow = 64, kTile = 128, kFewTiles = 132, kDeep = 4096;
constexpr int64_t kFewColumns = 640, kWideTile = 192;

int64_t Tiles(int64_t numbers, int64_t tile = kTile) { return (numbers + tile - 1) / tile; }

// By what decides about a kernel: whether tiles of 128 x 128 numbers fill a GPU; if so, whether few
// columns fill them badly, as 576 do; if not, whether sums are so long that they are worth
// dividing; and whether a side is narrower than a tile.
Size ClassOf(const Product& p) {
  const int64_t all = p.count * Tiles(p.rows) * Tiles(p.columns);
  if (p.rows <= kNarrow || p.columns <= kNarrow)
    return {p.rows <= kNarrow ? kNarrow : 8192, p.columns <= kNarrow ? kNarrow : 1024, 1024};
  const bool wider_fill = p.columns <= kFewColumns &&
                          kWideTile * Tiles(p.columns, kWideTile) < kTile * Tiles(p.columns);
  if (all >= kFewTiles && wider_fill) return {16384, 576, 576};
  if (all >= kFewTiles) return {16384, 1024, 1024};
  return {768, 768, p.inner >= kDeep ? 16384 : 1024};
}

void CheckStatus(cublasStatus_t status) {
  Check(status == CUBLAS_STATUS_SUCCESS,
        std::string("cuBLAS refuses a product: ") + cublasLtGetStatusString(status));
}

// What cuBLAS is told of a product. It reads matrices by columns: what it multiplies are the
// transposes, right' left'.
struct Description {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t left, right, result;

  explicit Description(const Product& p) {
    CheckStatus(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    Set(CUBLASLT_MATMUL_DESC_TRANSA, Operation(p.right));
    Set(CUBLASLT_MATMUL_DESC_TRANSB, Operation(p.left));
    if (p.bias != nullptr) {
      Set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
      Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
    }
    Describe(p.right, p.inner, p.columns, p.count, &right);
    Describe(p.left, p.rows, p.inner, p.count, &left);
    Describe(p.exact ? CUDA_R_32F : CUDA_R_16BF, p.columns, p.rows, p.stride, p.count, p.next,
             &result);
  }

 private:
  static cublasOperation_t Operation(const Operand& operand) {
    return operand.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  }

  template <typename Value>
  void Set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    CheckStatus(cublasLtMatmulDescSetAttribute(&product, attribute, &value, sizeof(value)));
  }

  // Of an operand (rows, columns).
  static void Describe(const Operand& operand, int64_t rows, int64_t columns, int64_t count,
                       cublasLtMatrixLayoutOpaque_t* layout) {
    const int64_t contiguous = operand.transposed ? rows : columns;
    const int64_t others = operand.transposed ? columns : rows;
    Describe(CUDA_R_16BF, contiguous, others, operand.stride, count, operand.next, layout);
  }

  static void Describe(cudaDataType_t type, int64_t contiguous, int64_t others, int64_t stride,
                       int64_t count, int64_t next, cublasLtMatrixLayoutOpaque_t* layout) {
    CheckStatus(cublasLtMatrixLayoutInit(layout, type, static_cast<uint64_t>(contiguous),
                                         static_cast<uint64_t>(others), stride));
    const auto batch = static_cast<int32_t>(count);
    CheckStatus(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                                 sizeof(batch)));
    CheckStatus(cublasLtMatrixLayoutSetAttribute(
        layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &next, sizeof(next)));
  }
};

// Ways to multiply, the quickest first.
using Algorithms = std::vector<cublasLtMatmulAlgo_t>;

// For a product of this shape. Parts of a sum are summed in float.
Algorithms Choose(cublasLtHandle_t handle, const Product& p) {
  constexpr int kMost = 8;
  constexpr uint32_t kAlignment = 16;
  constexpr uint32_t kReductions =
      CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  cublasLtMatmulPreferenceOpaque_t preference;
  CheckStatus(cublasLtMatmulPreferenceInit(&preference));
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    CheckStatus(
        cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(attribute, kAlignment);
  Description d(p);
  std::array<cublasLtMatmulHeuristicResult_t, kMost> found;
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, &d.product, &d.right, &d.left, &d.result, &d.result,
                                     &preference, kMost, found.data(), &count);
  Algorithms algorithms;
  if (status != CUBLAS_STATUS_SUCCESS) return algorithms;
  for (int k = 0; k < count; ++k) {
    const cublasLtMatmulHeuristicResult_t& one = found[static_cast<size_t>(k)];
    if (one.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(one.algo);
  }
  return algorithms;
}

// The product with a class's shape instead of its own.
Product Resized(Product p, const Size& size) {
  constexpr int64_t kBatch = 8;
  p.count = p.count > 1 ? kBatch : 1;
  p.rows = size.rows;
  p.columns = size.columns;
  p.inner = size.inner;
  const auto resize = [&](Operand* operand, int64_t rows, int64_t columns) {
    operand->stride = operand->transposed ? rows : columns;
    operand->next = rows * columns;
  };
  resize(&p.left, p.rows, p.inner);
  resize(&p.right, p.inner, p.columns);
  p.stride = p.columns;
  p.next = p.rows * p.columns;
  return p;
}

// Those of a product's class, chosen once in a process.
const Algorithms& AlgorithmsFor(cublasLtHandle_t handle, const Product& p) {
  using Key = std::tuple<int, int64_t, int64_t, int64_t, bool, bool, bool, bool, bool>;
  static std::mutex mutex;
  static std::map<Key, Algorithms> known;
  const Size size = ClassOf(p);
  int device = 0;
  Check(cudaGetDevice(&device) == cudaSuccess, "no current device");
  const Key key = {device,           size.rows,         size.columns,       size.inner,
                   p.count > 1,      p.left.transposed, p.right.transposed, p.exact,
                   p.bias != nullptr};
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known[key] = Choose(handle, Resized(p, size));
}

}  // namespace

bool Multiply(const Product& p, void* result, void* workspace, Stream stream) {
  auto* handle = static_cast<cublasLtHandle_t>(ProductHandle());
  Description d(p);
  const float one = 1, of_addend = p.addend != nullptr ? 1 : 0;
  const void* addend = p.addend != nullptr ? p.addend : result;
  for (const cublasLtMatmulAlgo_t& algorithm : AlgorithmsFor(handle, p)) {
    cublasLtMatmulHeuristicResult_t checked;
    const bool suits =
        cublasLtMatmulAlgoCheck(handle, &d.product, &d.right, &d.left, &d.result, &d.result,
                                &algorithm, &checked) == CUBLAS_STATUS_SUCCESS &&
        checked.workspaceSize <= kWorkspaceBytes;
    if (!suits) continue;
    CheckStatus(cublasLtMatmul(handle, &d.product, &one, p.right.numbers, &d.right, p.left.numbers,
                               &d.left, &of_addend, addend, &d.result, result, &d.result,
                               &algorithm, workspace, kWorkspaceBytes, stream));
    return true;
  }
  return false;
}

}  // namespace coppice::cuda
