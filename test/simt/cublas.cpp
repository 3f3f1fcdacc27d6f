// The stand-in of cuBLAS behind the table of cuda/products/cublas.h: products in plain loops on the stream, sums in
// f32 of kDepth products each (without fused multiply-add, one long sum would be less exact than any GPU's). Like cuBLAS
// it only supports columns, refuses leading dimensions that are too small, and does not read C if beta
// is 0.
#include "cuda/products/cublas.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "simt/runtime/device_memory.h"
#include "simt/runtime/injected_faults.h"
#include "simt/runtime/settings.h"
#include "simt/runtime/streams.h"
#include "simt/runtime/trace.h"

namespace simt {

namespace {

using mora::cuda::CublasAlgorithm;
using mora::cuda::CublasAtomics;
using mora::cuda::CublasCompute;
using mora::cuda::CublasHandle;
using mora::cuda::CublasMath;
using mora::cuda::CublasOperation;
using mora::cuda::CublasProperty;
using mora::cuda::CublasStatus;
using mora::cuda::CublasTable;
using mora::cuda::CublasType;

constexpr CublasStatus kSuccess = 0, kInvalidValue = 7, kExecutionFailed = 13, kNotSupported = 15;
constexpr int kVersion[] = {13, 4, 0};

struct Handle {
  cudaStream_t stream = nullptr;
};

struct Product {
  bool transposeA, transposeB;
  int64_t m, n, k;
  float alpha, beta;
  const void *a, *b;
  void* c;
  CublasType typeA, typeB, typeC;
  int64_t lda, ldb, ldc, strideA, strideB, strideC, count;
  bool tf32;  // inputs are rounded first
};

int64_t widthOf(CublasType type) { return type == CublasType::f32 ? 4 : 2; }

float load(const void* data, CublasType type, int64_t index) {
  switch (type) {
    case CublasType::f32:
      return static_cast<const float*>(data)[index];
    case CublasType::f16:
      return __half2float(static_cast<const __half*>(data)[index]);
    case CublasType::bf16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
  }
  return 0;
}

/// Rounds to 10 bits of fraction, to nearest even, as tensor cores read f32. NaN and infinity stay.
float roundToTf32(float value) {
  constexpr uint32_t kDropped = 13, kHalf = 1u << (kDropped - 1);
  if (!std::isfinite(value)) return value;
  uint32_t bits = std::bit_cast<uint32_t>(value);
  bits += kHalf - 1 + (bits >> kDropped & 1);
  return std::bit_cast<float>(bits >> kDropped << kDropped);
}

void store(void* data, CublasType type, int64_t index, float value) {
  switch (type) {
    case CublasType::f32:
      static_cast<float*>(data)[index] = value;
      return;
    case CublasType::f16:
      static_cast<__half*>(data)[index] = __float2half_rn(value);
      return;
    case CublasType::bf16:
      static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16_rn(value);
      return;
  }
}

// Sizes of the blocks that stay in the caches: kRows of C at a time, kDepth of the inner dimension.
constexpr int64_t kRows = 64, kColumns = 4, kDepth = 256;

/// Packs columns of op(A), or of the transpose of op(B), as floats: panel[p * height + i] for i < height rows, p <
/// depth.
void pack(float* panel, const void* data, CublasType type, bool tf32, bool rowsAreDense, int64_t ld, int64_t offset,
          int64_t row, int64_t rows, int64_t height, int64_t first, int64_t depth) {
  for (int64_t p = 0; p < depth; ++p)
    for (int64_t i = 0; i < height; ++i) {
      const int64_t at = rowsAreDense ? row + i + (first + p) * ld : first + p + (row + i) * ld;
      const float value = i < rows ? load(data, type, offset + at) : 0.0f;
      panel[p * height + i] = tf32 ? roundToTf32(value) : value;
    }
}

/// sums [kColumns, kRows] += panels of depth columns.
void multiply(float* sums, const float* a, const float* b, int64_t depth) {
  for (int64_t p = 0; p < depth; ++p)
    for (int64_t j = 0; j < kColumns; ++j)
      for (int64_t i = 0; i < kRows; ++i) sums[j * kRows + i] += a[p * kRows + i] * b[p * kColumns + j];
}

void runOne(const Product& product, int64_t index) {
  const auto [m, n, k] = std::array{product.m, product.n, product.k};
  const int64_t offsetA = index * product.strideA, offsetB = index * product.strideB, offsetC = index * product.strideC;
  std::vector<float> panelA(kRows * std::max<int64_t>(k, 1)), panelB(kColumns * kDepth);
  std::vector<float> sums(kColumns * kRows), partial(kColumns * kRows);
  for (int64_t row = 0; row < m; row += kRows) {
    const int64_t rows = std::min(kRows, m - row);
    pack(panelA.data(), product.a, product.typeA, product.tf32, !product.transposeA, product.lda, offsetA, row, rows,
         kRows, 0, k);
    for (int64_t column = 0; column < n; column += kColumns) {
      const int64_t columns = std::min(kColumns, n - column);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t first = 0; first < k; first += kDepth) {
        const int64_t depth = std::min(kDepth, k - first);
        pack(panelB.data(), product.b, product.typeB, product.tf32, product.transposeB, product.ldb, offsetB, column,
             columns, kColumns, first, depth);
        std::fill(partial.begin(), partial.end(), 0.0f);
        multiply(partial.data(), panelA.data() + first * kRows, panelB.data(), depth);
        for (int64_t at = 0; at < kColumns * kRows; ++at) sums[at] += partial[at];
      }
      for (int64_t j = 0; j < columns; ++j)
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t at = offsetC + row + i + (column + j) * product.ldc;
          const float before = product.beta == 0 ? 0.0f : product.beta * load(product.c, product.typeC, at);
          store(product.c, product.typeC, at, product.alpha * sums[j * kRows + i] + before);
        }
    }
  }
}

/// Whether the last element of a batch of matrices is allocated.
bool inside(const void* data, CublasType type, int64_t rows, int64_t columns, int64_t ld, int64_t stride,
            int64_t count) {
  const int64_t elements = (count - 1) * stride + (columns - 1) * ld + rows;
  return DeviceMemory::instance().allocated(data, static_cast<size_t>(elements * widthOf(type)));
}

/// Whether a batch of matrices of `rows` elements per column can be read or written 16 bytes at a time.
bool aligned(const void* data, CublasType type, int64_t rows, int64_t ld, int64_t stride) {
  const std::array distances{rows, ld, stride};
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && std::all_of(distances.begin(), distances.end(), [&](int64_t at) {
           return at * widthOf(type) % 16 == 0;
         });
}

bool known(CublasType type) { return type == CublasType::f32 || type == CublasType::f16 || type == CublasType::bf16; }

CublasStatus enqueueProduct(CublasHandle handle, const Product& product) {
  const auto [m, n, k, count] = std::array{product.m, product.n, product.k, product.count};
  if (const CublasStatus fault = cublasFault()) return fault;
  if (!handle || m < 0 || n < 0 || k < 0 || count < 0) return kInvalidValue;
  const int64_t rowsA = product.transposeA ? k : m, columnsA = product.transposeA ? m : k;
  const int64_t rowsB = product.transposeB ? n : k, columnsB = product.transposeB ? k : n;
  if (product.lda < std::max<int64_t>(1, rowsA) || product.ldb < std::max<int64_t>(1, rowsB) ||
      product.ldc < std::max<int64_t>(1, m))
    return kInvalidValue;
  // As in cuBLAS, both inputs have one type; the result has it too, or is f32.
  if (!known(product.typeA) || product.typeA != product.typeB ||
      (product.typeC != product.typeA && product.typeC != CublasType::f32))
    return kNotSupported;
  if (m == 0 || n == 0 || count == 0) return kSuccess;
  if (!inside(product.c, product.typeC, m, n, product.ldc, product.strideC, count)) return kExecutionFailed;
  if (k > 0 && (!inside(product.a, product.typeA, rowsA, columnsA, product.lda, product.strideA, count) ||
                !inside(product.b, product.typeB, rowsB, columnsB, product.ldb, product.strideB, count)))
    return kExecutionFailed;
  if (tracing()) {
    const auto number = [](CublasType type) {
      return type == CublasType::f32 ? "f32" : type == CublasType::f16 ? "f16" : "bf16";
    };
    TraceEntry entry{"product", std::string(number(product.typeA)) + " " + (product.transposeA ? "T" : "N") +
                                    (product.transposeB ? "T" : "N") + " " + std::to_string(m) + "x" +
                                    std::to_string(n) + "x" + std::to_string(k) + " batch " + std::to_string(count)};
    const int64_t matricesA = product.strideA ? count : 1, matricesB = product.strideB ? count : 1;
    const int64_t bytesC = count * m * n * widthOf(product.typeC);
    entry.bytesRead = static_cast<uint64_t>((matricesA * m + matricesB * n) * k * widthOf(product.typeA) +
                                            (product.beta == 0 ? 0 : bytesC));
    entry.bytesWritten = static_cast<uint64_t>(bytesC);
    entry.flops = static_cast<uint64_t>(2 * m * n * k * count);
    entry.aligned = aligned(product.a, product.typeA, rowsA, product.lda, product.strideA) &&
                    aligned(product.b, product.typeB, rowsB, product.ldb, product.strideB) &&
                    aligned(product.c, product.typeC, m, product.ldc, product.strideC);
    trace(entry);
  }
  if (!settings().compute) return kSuccess;
  enqueue(static_cast<Handle*>(handle)->stream, {[product] {
                                                   for (int64_t i = 0; i < product.count; ++i) runOne(product, i);
                                                 },
                                                 nullptr});
  return kSuccess;
}

CublasStatus create(CublasHandle* handle) {
  if (const CublasStatus fault = cublasFault()) return fault;
  *handle = new Handle;
  return kSuccess;
}

CublasStatus destroy(CublasHandle handle) {
  delete static_cast<Handle*>(handle);
  return kSuccess;
}

CublasStatus getProperty(CublasProperty property, int* value) {
  *value = kVersion[static_cast<int>(property)];
  return kSuccess;
}

CublasStatus setStream(CublasHandle handle, cudaStream_t stream) {
  static_cast<Handle*>(handle)->stream = stream;
  return kSuccess;
}

CublasStatus setWorkspace(CublasHandle, void* workspace, size_t bytes) {
  return bytes == 0 || DeviceMemory::instance().allocated(workspace, bytes) ? kSuccess : kInvalidValue;
}

CublasStatus setMathMode(CublasHandle, CublasMath) { return kSuccess; }

CublasStatus setAtomicsMode(CublasHandle, CublasAtomics) { return kSuccess; }

const char* getStatusString(CublasStatus status) {
  switch (status) {
    case kSuccess:
      return "the function completed successfully";
    case 1:
      return "the library was not initialized";
    case 3:
      return "the resource allocation failed";
    case 14:
      return "an internal operation failed";
    case kInvalidValue:
      return "an unsupported or invalid value was passed";
    case kExecutionFailed:
      return "an operand lies outside of allocated device memory";
    case kNotSupported:
      return "the combination of types is not supported";
  }
  return "unknown status";
}

CublasStatus gemmStridedBatchedEx(CublasHandle handle, CublasOperation operationA, CublasOperation operationB, int m,
                                  int n, int k, const void* alpha, const void* a, CublasType typeA, int lda,
                                  long long strideA, const void* b, CublasType typeB, int ldb, long long strideB,
                                  const void* beta, void* c, CublasType typeC, int ldc, long long strideC,
                                  int batchCount, CublasCompute compute, CublasAlgorithm) {
  const bool tf32 = compute == CublasCompute::f32FastTf32;
  if (compute != CublasCompute::f32 && !tf32) return kNotSupported;
  if (tf32 && typeA != CublasType::f32) return kNotSupported;
  return enqueueProduct(handle, {operationA == CublasOperation::transpose,
                                 operationB == CublasOperation::transpose,
                                 m,
                                 n,
                                 k,
                                 *static_cast<const float*>(alpha),
                                 *static_cast<const float*>(beta),
                                 a,
                                 b,
                                 c,
                                 typeA,
                                 typeB,
                                 typeC,
                                 lda,
                                 ldb,
                                 ldc,
                                 strideA,
                                 strideB,
                                 strideC,
                                 batchCount,
                                 tf32});
}

CublasStatus gemmEx(CublasHandle handle, CublasOperation operationA, CublasOperation operationB, int m, int n, int k,
                    const void* alpha, const void* a, CublasType typeA, int lda, const void* b, CublasType typeB,
                    int ldb, const void* beta, void* c, CublasType typeC, int ldc, CublasCompute compute,
                    CublasAlgorithm algorithm) {
  return gemmStridedBatchedEx(handle, operationA, operationB, m, n, k, alpha, a, typeA, lda, 0, b, typeB, ldb, 0, beta,
                              c, typeC, ldc, 0, 1, compute, algorithm);
}

}  // namespace

}  // namespace simt

const mora::cuda::Cublas* mora::cuda::emulatedCublas() {
  static constexpr CublasTable table{.create = simt::create,
                                     .destroy = simt::destroy,
                                     .getProperty = simt::getProperty,
                                     .setStream = simt::setStream,
                                     .setWorkspace = simt::setWorkspace,
                                     .setMathMode = simt::setMathMode,
                                     .setAtomicsMode = simt::setAtomicsMode,
                                     .getStatusString = simt::getStatusString,
                                     .gemmEx = simt::gemmEx,
                                     .gemmStridedBatchedEx = simt::gemmStridedBatchedEx};
  static const Cublas library{table, "emulated"};
  return &library;
}
