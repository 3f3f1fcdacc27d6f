#include "cpu/few_rows/few_rows.h"

#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/parallel.h"
#include "cpu/prefetch.h"
#include "cpu/stored/convert.h"
#include "cpu/stored/dequantise.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/few_rows/few_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/few_rows/block_bytes-inl.h"
#include "cpu/few_rows/block_words-inl.h"
#include "cpu/few_rows/few_outputs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

#if HWY_TARGET <= HWY_AVX3_DL
template <DType type>
using StoredFormat = ByteFormat<type>;
template <class Format>
using FixedRows = ByteRows<Format>;
constexpr bool isMultiplied(DType) { return true; }
#else
template <DType type>
using StoredFormat = WordFormat<type>;
template <class Format>
using FixedRows = WordRows;
constexpr bool isMultiplied(DType type) { return hasWords(type); }
#endif

/// Dot products of kRows rows of x, `stride` apart, and kWeights rows of a weight, with four sums each, so that no sum
/// waits for the previous one. Each is summed in the same order, whatever kRows and kWeights are.
template <int kRows, int kWeights, typename T>
HWY_INLINE void floatDots(const float* HWY_RESTRICT x, int64_t stride, const T* const (&w)[kWeights], int64_t k,
                          float (&dots)[kWeights][kRows]) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  FloatVector sums[kWeights][kRows][4];
  for (auto& output : sums)
    for (auto& row : output)
      for (FloatVector& sum : row) sum = broadcast(0);
  const auto addTo = [&](int output, int i, int64_t at, auto part) HWY_ATTR {
    const FloatVector weights = load(w[output] + at, part);
#pragma GCC unroll 2
    for (int row = 0; row < kRows; ++row) {
      FloatVector& sum = sums[output][row][i];
      sum = hn::MulAdd(weights, load(x + row * stride + at, part), sum);
    }
  };
  int64_t at = 0;
  for (; at + 4 * lanes <= k; at += 4 * lanes) {
#pragma GCC unroll 2
    for (int output = 0; output < kWeights; ++output) {
      prefetchLater(w[output] + at, 4 * lanes * static_cast<int64_t>(sizeof(T)));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) addTo(output, i, at + i * lanes, WholeVector{});
    }
  }
#pragma GCC unroll 2
  for (int output = 0; output < kWeights; ++output) {
    forVectors(k - at, [&](int64_t i, auto part) HWY_ATTR { addTo(output, 0, at + i, part); });
#pragma GCC unroll 2
    for (int row = 0; row < kRows; ++row) {
      const FloatVector(&own)[4] = sums[output][row];
      dots[output][row] = hn::ReduceSum(FloatTag(), hn::Add(hn::Add(own[0], own[1]), hn::Add(own[2], own[3])));
    }
  }
}

void MultiplyFloats(const float* x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t end,
                    float alpha, bool accumulate) {
  const int64_t depth = weight.shape[1];
  withFloatType(weight.dtype, "matmul", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    inTwoStreams(begin, end, [&](auto streams, int64_t first, int64_t count, int64_t apart) HWY_ATTR {
      constexpr int kStreams = decltype(streams)::value;
      multiplyStreams<kStreams>(c, first, count, apart, alpha, accumulate, [&](int64_t output, auto give) HWY_ATTR {
        const T* weights[kStreams];
        for (int i = 0; i < kStreams; ++i) weights[i] = rowOf<const T>(weight, output + i * apart);
        const auto dots = [&](int64_t row, auto together) HWY_ATTR {
          constexpr int kRows = decltype(together)::value;
          float found[kStreams][kRows];
          floatDots(x + row * depth, depth, weights, depth, found);
          for (int i = 0; i < kStreams; ++i)
            for (int r = 0; r < kRows; ++r) give(i, row + r, found[i][r]);
        };
        int64_t row = 0;
        for (; row + 2 <= c.shape[0]; row += 2) dots(row, std::integral_constant<int, 2>());
        if (row < c.shape[0]) dots(row, std::integral_constant<int, 1>());
      });
    });
  });
}

/// Multiplies an unpacked block by four rows of activations at a time; further rows find the block in the nearest
/// cache.
template <class Format>
void multiplyOutputs(const FixedRows<Format>& x, const TensorDesc& weight, const TensorDesc& c, int64_t begin,
                     int64_t end, float alpha, bool accumulate) {
  const auto* const data = static_cast<const uint8_t*>(weight.data);
  const int64_t stride = weight.strides[0] / (Format::kGroups * kGroup) * Format::kBytes;
  inTwoStreams(begin, end, [&](auto streams, int64_t first, int64_t count, int64_t apart) HWY_ATTR {
    constexpr int kStreams = decltype(streams)::value;
    multiplyStreams<kStreams>(c, first, count, apart, alpha, accumulate, [&](int64_t output, auto give) HWY_ATTR {
      const uint8_t* blocks[kStreams];
      for (int i = 0; i < kStreams; ++i) blocks[i] = data + (output + i * apart) * stride;
      const auto dots = [&](int64_t row, auto together) HWY_ATTR {
        constexpr int kRows = decltype(together)::value;
        float found[kStreams][kRows];
        blockDots<Format, kRows, kStreams>(blocks, x, row, found);
        for (int i = 0; i < kStreams; ++i)
          for (int r = 0; r < kRows; ++r) give(i, row + r, found[i][r]);
      };
      int64_t row = 0;
      for (; row + 4 <= x.rows; row += 4) dots(row, std::integral_constant<int, 4>());
      for (; row + 2 <= x.rows; row += 2) dots(row, std::integral_constant<int, 2>());
      if (row < x.rows) dots(row, std::integral_constant<int, 1>());
    });
  });
}

template <class Format>
void multiplyStored(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate) {
  const int64_t depth = a.shape[1];
  Scratch scratch;
  const FixedRows<Format> x(scratch, c.shape[0], depth / kGroup);
  parallelRanges(x.count(), kGroup, [&](int64_t begin, int64_t end) { x.fill(a, begin, end); });
  parallelRuns(c.shape[1], depth, [&](int64_t begin, int64_t end) {
    multiplyOutputs<Format>(x, weight, c, begin, end, alpha, accumulate);
  });
}

/// Dequantises to f32 and multiplies.
void multiplyDequantised(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                         bool accumulate) {
  const int64_t rows = c.shape[0], depth = a.shape[1];
  const DTypeTraits blocks = traitsOf(weight.dtype);
  Scratch scratch;
  auto* const x = scratch.take<float>(rows * depth);
  for (int64_t row = 0; row < rows; ++row)
    convertRow(a.dtype, static_cast<const std::byte*>(a.data) + row * a.strides[0] * traitsOf(a.dtype).blockBytes,
               DType::f32, x + row * depth, depth);
  const auto unpack = [&](int64_t output, int64_t column, int64_t count, float* values) {
    const int64_t block = (output * weight.strides[0] + column) / blocks.blockSize;
    dequantiseRow(weight.dtype, static_cast<const uint8_t*>(weight.data) + block * blocks.blockBytes, count, DType::f32,
                  values);
  };
  parallelRuns(c.shape[1], depth, [&](int64_t begin, int64_t end) {
    multiplyUnpacked(x, depth, c, begin, end, alpha, accumulate, unpack);
  });
}

void MultiplyFewRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate) {
  withBlockType(weight.dtype, "matmul", [&](auto constant) {
    constexpr DType type = decltype(constant)::value;
    if constexpr (isMultiplied(type))
      multiplyStored<StoredFormat<type>>(a, weight, c, alpha, accumulate);
    else
      multiplyDequantised(a, weight, c, alpha, accumulate);
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MultiplyFewRows);
HWY_EXPORT(MultiplyFloats);

void multiplyFewRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(MultiplyFewRows)(a, weight, c, alpha, accumulate);
}

void multiplyFewFloats(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                       bool accumulate) {
  const int64_t rows = c.shape[0], outputs = c.shape[1], depth = a.shape[1];
  const float* x = static_cast<const float*>(a.data);
  Scratch scratch;
  if (a.dtype != DType::f32 || (rows > 1 && a.strides[0] != depth)) {
    auto* const values = scratch.take<float>(rows * depth);
    for (int64_t row = 0; row < rows; ++row)
      convertRow(a.dtype, static_cast<const std::byte*>(a.data) + row * a.strides[0] * traitsOf(a.dtype).blockBytes,
                 DType::f32, values + row * depth, depth);
    x = values;
  }
  parallelRuns(outputs, depth, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(MultiplyFloats)(x, weight, c, begin, end, alpha, accumulate);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
