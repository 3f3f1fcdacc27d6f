// Products of the small f32 matrices of a chunk of tokens, with sums in registers. Every sum adds its terms in the
// order of the steps, whatever the tile. Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_LAYERS_CHUNK_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_LAYERS_CHUNK_PRODUCTS_INL_H_
#undef MORA_CPU_LAYERS_CHUNK_PRODUCTS_INL_H_
#else
#define MORA_CPU_LAYERS_CHUNK_PRODUCTS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// The left matrix of a product, or its transpose: element (i, step) is data[i * row + step * column].
struct LeftMatrix {
  const float* data;
  int64_t row, column;

  LeftMatrix from(int64_t i, int64_t step) const { return {data + i * row + step * column, row, column}; }
};
HWY_INLINE LeftMatrix byRows(const float* data, int64_t stride) { return {data, stride, 1}; }
HWY_INLINE LeftMatrix transposed(const float* data, int64_t stride) { return {data, 1, stride}; }

/// A matrix by rows.
template <typename T>
struct RowMatrix {
  T* data;
  int64_t stride;

  RowMatrix from(int64_t i, int64_t j = 0) const { return {data + i * stride + j, stride}; }
};
using RightMatrix = RowMatrix<const float>;
using ResultMatrix = RowMatrix<float>;

// 8 x 2 accumulators, 2 vectors and a broadcast fit 32 registers; 4 x 2 fit 16.
constexpr int64_t kTileRows = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 8 : 4;
constexpr int64_t kTileVectors = 2;

template <int kRows, int kVectors, class Part>
HWY_NOINLINE void multiplyTile(LeftMatrix a, RightMatrix b, ResultMatrix c, int64_t steps, bool accumulate, Part part) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  FloatVector sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = accumulate ? load(c.data + r * c.stride + v * lanes, part) : broadcast(0.0f);
  const float* HWY_RESTRICT left = a.data;
  const float* HWY_RESTRICT right = b.data;
  for (int64_t step = 0; step < steps; ++step) {
    FloatVector columns[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) columns[v] = load(right + v * lanes, part);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const FloatVector term = broadcast(left[r * a.row]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(term, columns[v], sums[r][v]);
    }
    left += a.column;
    right += b.stride;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(sums[r][v], c.data + r * c.stride + v * lanes, part);
}

template <int kRows>
HWY_INLINE void multiplyRows(LeftMatrix a, RightMatrix b, ResultMatrix c, int64_t steps, int64_t columns,
                             bool accumulate) {
  const auto width = static_cast<int64_t>(kTileVectors * hn::Lanes(FloatTag()));
  int64_t j = 0;
  for (; j + width <= columns; j += width)
    multiplyTile<kRows, kTileVectors>(a, b.from(0, j), c.from(0, j), steps, accumulate, WholeVector{});
  forVectors(columns - j, [&](int64_t i, auto part) HWY_ATTR {
    multiplyTile<kRows, 1>(a, b.from(0, j + i), c.from(0, j + i), steps, accumulate, part);
  });
}

/// c [rows, columns] = (accumulate ? c : 0) + a [rows, steps] b [steps, columns]
HWY_INLINE void multiply(LeftMatrix a, RightMatrix b, ResultMatrix c, int64_t rows, int64_t steps, int64_t columns,
                         bool accumulate) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows)
    multiplyRows<kTileRows>(a.from(i, 0), b, c.from(i), steps, columns, accumulate);
  for (; i < rows; ++i) multiplyRows<1>(a.from(i, 0), b, c.from(i), steps, columns, accumulate);
}

// A triangular matrix is 0 on the other side of its diagonal as far as the next multiple of this.
constexpr int64_t kBandRows = 8;

template <class Body>
HWY_INLINE void forBands(int64_t rows, Body&& body) {
  for (int64_t i = 0; i < rows; i += kBandRows) body(i, std::min(i + kBandRows, rows));
}

/// c [rows, columns] = (accumulate ? c : 0) + a [rows, rows] b [rows, columns], where a is 0 above the diagonal.
HWY_INLINE void multiplyLower(LeftMatrix a, RightMatrix b, ResultMatrix c, int64_t rows, int64_t columns,
                              bool accumulate) {
  forBands(rows, [&](int64_t begin, int64_t end)
                     HWY_ATTR { multiply(a.from(begin, 0), b, c.from(begin), end - begin, end, columns, accumulate); });
}

/// c [rows, columns] = (accumulate ? c : 0) + a [rows, rows] b [rows, columns], where a is 0 below the diagonal.
HWY_INLINE void multiplyUpper(LeftMatrix a, RightMatrix b, ResultMatrix c, int64_t rows, int64_t columns,
                              bool accumulate) {
  forBands(rows, [&](int64_t begin, int64_t end) HWY_ATTR {
    multiply(a.from(begin, begin), b.from(begin), c.from(begin), end - begin, rows - begin, columns, accumulate);
  });
}

/// c [rows, rows] = a [rows, steps] b [steps, rows] up to the diagonal; of what is above it, some is written.
HWY_INLINE void multiplyToLower(LeftMatrix a, RightMatrix b, ResultMatrix c, int64_t rows, int64_t steps) {
  forBands(rows, [&](int64_t begin, int64_t end)
                     HWY_ATTR { multiply(a.from(begin, 0), b, c.from(begin), end - begin, steps, end, false); });
}

enum class Order { firstToLast, lastToFirst };

/// Solves, row by row in `order`, residual_t = right_t + the sum over rows s before t of couplings_ts solved_s, where
/// solved_t = factors_t residual_t. `residuals` [rows, columns] are the right sides before; couplings are those of rows
/// t and s, and 0 elsewhere.
template <Order kOrder>
HWY_INLINE void solveRows(LeftMatrix couplings, const float* factors, ResultMatrix residuals, ResultMatrix solved,
                          int64_t rows, int64_t columns) {
  const auto solveBand = [&](int64_t begin, int64_t end) HWY_ATTR {
    const int64_t known = kOrder == Order::firstToLast ? 0 : end,
                  count = kOrder == Order::firstToLast ? begin : rows - end;
    multiply(couplings.from(begin, known), {solved.from(known).data, solved.stride}, residuals.from(begin), end - begin,
             count, columns, true);
    forVectors(columns, [&](int64_t j, auto part) HWY_ATTR {
      const auto rowOf = [&](int64_t n) { return kOrder == Order::firstToLast ? begin + n : end - 1 - n; };
      for (int64_t n = 0; n < end - begin; ++n) {
        const int64_t t = rowOf(n);
        FloatVector rest = load(residuals.from(t, j).data, part);
        for (int64_t m = 0; m < n; ++m)
          rest =
              hn::MulAdd(broadcast(*couplings.from(t, rowOf(m)).data), load(solved.from(rowOf(m), j).data, part), rest);
        store(rest, residuals.from(t, j).data, part);
        store(hn::Mul(broadcast(factors[t]), rest), solved.from(t, j).data, part);
      }
    });
  };
  const int64_t bands = (rows + kBandRows - 1) / kBandRows;
  for (int64_t n = 0; n < bands; ++n) {
    const int64_t begin = (kOrder == Order::firstToLast ? n : bands - 1 - n) * kBandRows;
    solveBand(begin, std::min(begin + kBandRows, rows));
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
