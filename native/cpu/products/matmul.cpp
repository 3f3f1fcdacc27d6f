#include "cpu/products/matmul.h"

#include <hwy/targets.h>

#include <algorithm>
#include <vector>

#include "cpu/few_rows/block_matrices.h"
#include "cpu/few_rows/few_rows.h"
#include "cpu/products/panel_products.h"
#include "cpu/products/product_library.h"
#include "cpu/products/rank_updates.h"
#include "cpu/products/small_products.h"
#include "cpu/products/tens_of_rows.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

/// Dense scratch memory in the shape of a tensor; a batch that repeats one matrix is stored once.
TensorDesc scratchLike(Scratch& scratch, const TensorDesc& tensor, DType dtype) {
  TensorDesc dense = tensor;
  dense.dtype = dtype;
  const bool repeated = tensor.rank == 3 && tensor.strides[0] == 0;
  int64_t stride = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    dense.strides[i] = i == 0 && repeated ? 0 : stride;
    stride *= i == 0 && repeated ? 1 : tensor.shape[i];
  }
  dense.data = scratch.bytes(static_cast<size_t>(stride * traitsOf(dtype).blockBytes));
  return dense;
}

TensorDesc denseCopy(Scratch& scratch, const TensorDesc& tensor, DType dtype) {
  const TensorDesc dense = scratchLike(scratch, tensor, dtype);
  TensorDesc from = tensor, to = dense;
  if (tensor.rank == 3 && tensor.strides[0] == 0) from.shape[0] = to.shape[0] = 1;
  copy(from, to, 1);
  return dense;
}

TensorDesc widened(Scratch& scratch, const TensorDesc& tensor) {
  return tensor.dtype == DType::f32 ? tensor : denseCopy(scratch, tensor, DType::f32);
}

/// A row or a column with gaps between elements, which oneDNN mistakes for a dense one.
bool isStridedVector(const TensorDesc& tensor) {
  const int32_t row = tensor.rank - 2, column = tensor.rank - 1;
  return (tensor.shape[row] == 1 && tensor.shape[column] > 1 && tensor.strides[column] != 1) ||
         (tensor.shape[column] == 1 && tensor.shape[row] > 1 && tensor.strides[row] != 1);
}

// --- bfloat16 and float16 through float32 ---------------------------------------------------------------------------
//
// Some processors multiply bfloat16 more slowly than float32, or not at all, and few sum products of float16 in
// float32. On those, tiles of the operands are widened into scratch memory that stays in the cache, and multiplied in
// float32.

struct Extent {
  int64_t from, length;
};

/// The part of a matrix (or of every matrix of a batch) that a tile covers; rows and columns are those of op(tensor).
TensorDesc tileOf(const TensorDesc& tensor, bool transposed, Extent rows, Extent columns) {
  TensorDesc tile = tensor;
  const int32_t row = tensor.rank - (transposed ? 1 : 2), column = tensor.rank - (transposed ? 2 : 1);
  const int64_t offset = rows.from * tensor.strides[row] + columns.from * tensor.strides[column];
  tile.data = static_cast<std::byte*>(tensor.data) + offset * traitsOf(tensor.dtype).blockBytes;
  tile.shape[row] = rows.length;
  tile.shape[column] = columns.length;
  return tile;
}

void multiplyWidened(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                     float alpha, bool accumulate) {
  constexpr int64_t kRows = 512, kColumns = 4096, kDepth = 4096;
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const bool direct = c.dtype == DType::f32;
  for (int64_t column = 0; column < n; column += kColumns) {
    const Extent columns{column, std::min(kColumns, n - column)};
    Scratch ofColumns;
    TensorDesc wideB;
    if (k <= kDepth) wideB = widened(ofColumns, tileOf(b, transposeB, {0, k}, columns));
    for (int64_t row = 0; row < m; row += kRows) {
      const Extent rows{row, std::min(kRows, m - row)};
      const TensorDesc target = tileOf(c, false, rows, columns);
      Scratch ofRows;
      const TensorDesc sums = direct ? target : scratchLike(ofRows, target, DType::f32);
      for (int64_t at = 0; at < k; at += kDepth) {
        const Extent depth{at, std::min(kDepth, k - at)};
        Scratch ofDepth;
        if (k > kDepth) wideB = widened(ofDepth, tileOf(b, transposeB, depth, columns));
        const TensorDesc wideA = widened(ofDepth, tileOf(a, transposeA, rows, depth));
        multiplyFloats(wideA, transposeA, wideB, transposeB, sums, alpha, at > 0 || (direct && accumulate));
      }
      if (direct) continue;
      if (accumulate)
        add(sums, target, 1);
      else
        copy(sums, target, 1);
    }
  }
}

thread_local bool rowsAlone = false;

bool areFloat32(const TensorDesc& a, const TensorDesc& b, const TensorDesc& c) {
  return a.dtype == DType::f32 && b.dtype == DType::f32 && c.dtype == DType::f32;
}

/// Whether sums in f64 take at most a fraction of a millisecond. With fewer rows, widening b costs too much.
bool isSmall(const TensorDesc& a, const TensorDesc& b, const TensorDesc& c) {
  constexpr int64_t kRows = 8, kElements = 1 << 15;
  if (!areFloat32(a, b, c)) return false;
  for (const TensorDesc* tensor : {&a, &b, &c})
    if (elementsOf(*tensor) > kElements) return false;
  return c.shape[c.rank - 2] >= kRows;
}

/// The same where rows are summed as if they were alone: it depends on b only, so that a row's sums do not depend on
/// others.
bool isTiny(const TensorDesc& b) {
  constexpr int64_t kElements = 1 << 12, kDepth = 1 << 10;
  return elementsOf(b) <= kElements && b.shape[1] <= kDepth;
}

/// Widening reads and writes each operand once more, which pays if every element takes part in enough multiplications.
bool widenPays(int64_t m, int64_t n, int64_t k) {
  constexpr double kEnough = 128;
  return 1.0 / static_cast<double>(m) + 1.0 / static_cast<double>(n) + 1.0 / static_cast<double>(k) < 1.0 / kEnough;
}

}  // namespace

void matmul(TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (elementsOf(a) == 0) {
    if (!accumulate) fill(c, 0);
    return;
  }
  if (isQuantised(b.dtype)) {
    if (transposeB && !rowsAlone && prefersBlockMatrices(a, b, c))
      return multiplyBlockMatrices(a, b, c, alpha, accumulate);
    if (transposeB && c.shape[0] <= mostStoredRows()) return multiplyFewRows(a, b, c, alpha, accumulate);
    if (transposeB && prefersTensOfRows(a, b, c)) return multiplyTensOfRows(a, b, c, alpha, accumulate);
    return multiplyQuantised(a, b, transposeB, c, alpha, accumulate);
  }
  if (isStridedVector(a) || isStridedVector(b) || isStridedVector(c)) {
    Scratch scratch;
    const TensorDesc denseA = denseCopy(scratch, a, a.dtype), denseB = denseCopy(scratch, b, b.dtype);
    const TensorDesc denseC = accumulate ? denseCopy(scratch, c, c.dtype) : scratchLike(scratch, c, c.dtype);
    matmul(denseA, transposeA, denseB, transposeB, denseC, alpha, accumulate);
    return copy(denseC, c, 1);
  }
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const bool ofRows = c.rank == 2 && !transposeA && transposeB;
  const bool alone = ofRows && rowsAlone && m <= kMostFewRows && areFloat32(a, b, c);
  if (alone && isTiny(b)) return multiplySmall(a, false, b, true, c, alpha, accumulate);
  const bool areDense = a.strides[1] == 1 && b.strides[1] == 1 && c.strides[1] == 1;
  if (ofRows && areDense && (m == 1 || alone)) return multiplyFewFloats(a, b, c, alpha, accumulate);
  if (ofRows && b.dtype == DType::bf16 && prefersTensOfRows(a, b, c))
    return multiplyTensOfRows(a, b, c, alpha, accumulate);
  if (!transposeA && c.rank == 2 && prefersRankUpdate(a, b, transposeB, c))
    return multiplyRankUpdate(a, b, transposeB, c, alpha, accumulate);
  if (isSmall(a, b, c)) return multiplySmall(a, transposeA, b, transposeB, c, alpha, accumulate);
  const bool widen = a.dtype != b.dtype || a.dtype == DType::f16;
  if (widen || (a.dtype == DType::bf16 && (!multipliesBfloat16() || (slowBfloat16() && widenPays(m, n, k)))))
    multiplyWidened(a, transposeA, b, transposeB, c, alpha, accumulate);
  else
    multiplyFloats(a, transposeA, b, transposeB, c, alpha, accumulate);
}

void setRowsAlone(bool alone) { rowsAlone = alone; }

int64_t mostStoredRows() { return rowsAlone ? kMostFewRows : kFewRows; }

void prepareProducts() {
  // Zeros are valid for both types; the matrix is large enough for the processor's matrix units.
  constexpr int64_t kSide = 64;
  std::vector<float> a(kSide * kSide), b(kSide * kSide), c(kSide * kSide);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto square = [dtype](std::vector<float>& values) {
      return TensorDesc{values.data(), dtype, 2, {kSide, kSide}, {kSide, 1}};
    };
    matmul(square(a), false, square(b), false, square(c), 1, false);
  }
}

std::string instructionSets() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;  // targets that the kernels were compiled for
#ifdef MORA_PROCESSOR
  const std::string compiledFor = " for " MORA_PROCESSOR;
#else
  const std::string compiledFor = "";
#endif
  return std::string("Highway ") + hwy::TargetName(targets & -targets) + compiledFor + ", " + productInstructions();
}

std::vector<std::pair<std::string, std::string>> libraries() {
  return {
      productLibrary(),
      {"Highway", std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." + std::to_string(HWY_PATCH)}};
}

}  // namespace mora::cpu
