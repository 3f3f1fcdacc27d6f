#include "cpu/few_rows.h"

#include <algorithm>
#include <utility>

#include "cpu/convert.h"
#include "cpu/float_types.h"
#include "cpu/parallel.h"
#include "cpu/processor.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/few_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/block_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// codes [32] and the scale of 32 values. Not finite ones make the scale not finite, and so every sum that it enters.
template <typename T>
HWY_INLINE float fixGroup(const T* HWY_RESTRICT values, int16_t* HWY_RESTRICT codes) {
  const hn::CappedTag<float, 16> floats;
  const hn::Rebind<int32_t, decltype(floats)> integers;
  constexpr size_t kLanes = hn::MaxLanes(floats);
  float wide[kGroup];
  forVectors(kGroup, [&](int64_t i, auto part) HWY_ATTR { store(load(values + i, part), wide + i, part); });
  // Sizes of floats are ordered as their bits are, NaN above all.
  auto largest = hn::Zero(integers);
  for (size_t i = 0; i < kGroup; i += kLanes)
    largest = hn::Max(largest, hn::BitCast(integers, hn::Abs(hn::LoadU(floats, wide + i))));
  const float size = std::bit_cast<float>(hn::ReduceMax(integers, largest));
  const bool usable = size > 0 && size < hwy::HighestValue<float>();
  const auto steps = hn::Set(floats, usable ? 32767.0f / size : 0.0f);
  const auto most = hn::Set(floats, 32767.0f);
  for (size_t i = 0; i < kGroup; i += kLanes) {
    const auto step = hn::Max(hn::Min(hn::Mul(hn::LoadU(floats, wide + i), steps), most), hn::Neg(most));
    hn::StoreU(hn::DemoteTo(hn::Rebind<int16_t, decltype(floats)>(), hn::NearestInt(step)),
               hn::Rebind<int16_t, decltype(floats)>(), codes + i);
  }
  return size / 32767.0f;
}

void FixRows(const TensorDesc& a, int64_t begin, int64_t end, const FixedRows& x) {
  withFloatType(a.dtype, "matmul", [&](auto type) HWY_ATTR {
    for (int64_t at = begin; at < end; ++at) {
      const auto* const row = rowOf<const decltype(type)>(a, at / x.groups);
      int16_t* const codes = x.codes + at * kGroup;
      const float scale = fixGroup(row + at % x.groups * kGroup, codes);
      int32_t sum = 0;
      for (int64_t i = 0; i < kGroup; ++i) sum += codes[i];
      x.factors[2 * at] = scale;
      x.factors[2 * at + 1] = scale * static_cast<float>(sum);
    }
  });
}

/// Outputs whose sums are collected before they are stored.
constexpr int64_t kOutputs = 32;

/// c [:, begin .. end) = alpha sums [rows, kOutputs] (+ c)
void storeSums(const float (*sums)[kOutputs], const TensorDesc& c, int64_t begin, int64_t end, float alpha,
               bool accumulate) {
  withFloatType(c.dtype, "matmul", [&](auto type) HWY_ATTR {
    for (int64_t row = 0; row < c.shape[0]; ++row) {
      auto* const to = rowOf<decltype(type)>(c, row) + begin;
      forVectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
        const FloatVector scaled = hn::Mul(load(sums[row] + i, part), broadcast(alpha));
        store(accumulate ? hn::Add(scaled, load(to + i, part)) : scaled, to + i, part);
      });
    }
  });
}

/// Dots of x and kRows rows of a weight. Four sums for each, so that none waits for the one before.
template <int kRows, bool kHints, typename T>
HWY_INLINE void floatDots(const float* HWY_RESTRICT x, const T* const (&w)[kRows], int64_t k, float (&dots)[kRows]) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  FloatVector sums[kRows][4];
  for (auto& row : sums)
    for (FloatVector& sum : row) sum = broadcast(0);
  const auto addTo = [&](int row, int i, int64_t at, auto part) HWY_ATTR {
    sums[row][i] = hn::MulAdd(load(w[row] + at, part), load(x + at, part), sums[row][i]);
  };
  int64_t at = 0;
  for (; at + 4 * lanes <= k; at += 4 * lanes) {
#pragma GCC unroll 2
    for (int row = 0; row < kRows; ++row) {
      if constexpr (kHints) prefetchLater(w[row] + at, 4 * lanes * static_cast<int64_t>(sizeof(T)));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) addTo(row, i, at + i * lanes, WholeVector{});
    }
  }
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row) {
    forVectors(k - at, [&](int64_t i, auto part) HWY_ATTR { addTo(row, 0, at + i, part); });
    const FloatVector(&own)[4] = sums[row];
    dots[row] = hn::ReduceSum(FloatTag(), hn::Add(hn::Add(own[0], own[1]), hn::Add(own[2], own[3])));
  }
}

/// Outputs [begin, begin + count) of each of kStreams parts of a weight, `apart` rows from each other.
template <int kStreams, bool kHints, typename T>
void multiplyStreams(const float* x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t count,
                     int64_t apart, float alpha, bool accumulate) {
  float sums[kStreams][1][kOutputs];
  for (int64_t from = begin; from < begin + count; from += kOutputs) {
    const int64_t to = std::min(begin + count, from + kOutputs);
    for (int64_t output = from; output < to; ++output) {
      const T* rows[kStreams];
      float dots[kStreams];
      for (int i = 0; i < kStreams; ++i) rows[i] = rowOf<const T>(weight, output + i * apart);
      floatDots<kStreams, kHints>(x, rows, weight.shape[1], dots);
      for (int i = 0; i < kStreams; ++i) sums[i][0][output - from] = dots[i];
    }
    for (int i = 0; i < kStreams; ++i) storeSums(sums[i], c, from + i * apart, to + i * apart, alpha, accumulate);
  }
}

/// Two runs of memory far from each other are read faster than one, and than two that are near.
void MultiplyFloats(const float* x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t end,
                    float alpha, bool accumulate) {
  withFloatType(weight.dtype, "matmul", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t half = (end - begin) / 2;
    const auto run = [&](auto hints) HWY_ATTR {
      constexpr bool kHints = decltype(hints)::value;
      multiplyStreams<2, kHints, T>(x, weight, c, begin, half, half, alpha, accumulate);
      multiplyStreams<1, kHints, T>(x, weight, c, begin + 2 * half, end - begin - 2 * half, 0, alpha, accumulate);
    };
    // Intel's cores gain by hints; AMD's foresee these runs, and hints cost them a third.
    isIntel() ? run(std::true_type()) : run(std::false_type());
  });
}

/// Four rows of activations meet an unpacked block at a time; others find the block in the nearest cache.
template <class Format>
void multiplyBlocks(const FixedRows& x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t end,
                    float alpha, bool accumulate) {
  constexpr DTypeTraits traits = traitsOf(Format::kType);
  const auto* const data = static_cast<const uint8_t*>(weight.data);
  const int64_t stride = weight.strides[0] / traits.blockSize * traits.blockBytes;
  float sums[kFewRows][kOutputs];
  for (int64_t from = begin; from < end; from += kOutputs) {
    const int64_t to = std::min(end, from + kOutputs);
    for (int64_t output = from; output < to; ++output) {
      const uint8_t* const blocks = data + output * stride;
      const auto dots = [&](int64_t row, auto count) HWY_ATTR {
        float found[decltype(count)::value];
        blockDots<Format, decltype(count)::value>(blocks, x, row, found);
        for (int r = 0; r < decltype(count)::value; ++r) sums[row + r][output - from] = found[r];
      };
      int64_t row = 0;
      for (; row + 4 <= x.rows; row += 4) dots(row, std::integral_constant<int, 4>());
      for (; row + 2 <= x.rows; row += 2) dots(row, std::integral_constant<int, 2>());
      if (row < x.rows) dots(row, std::integral_constant<int, 1>());
    }
    storeSums(sums, c, from, to, alpha, accumulate);
  }
}

void MultiplyBlocks(const FixedRows& x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t end,
                    float alpha, bool accumulate) {
  const auto run = [&](auto format) { multiplyBlocks<decltype(format)>(x, weight, c, begin, end, alpha, accumulate); };
  switch (weight.dtype) {
    case DType::q8_0:
      return run(Q8_0());
    case DType::q4_0:
      return run(Q4_0());
    case DType::q4_1:
      return run(Q4_1());
    case DType::q4_k:
      return run(Q4K());
    case DType::q6_k:
      return run(Q6K());
    default:
      unsupported(std::string("a product with few rows of ") + traitsOf(weight.dtype).name);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(FixRows);
HWY_EXPORT(MultiplyBlocks);
HWY_EXPORT(MultiplyFloats);

bool hasBlockProduct(DType type) {
  return type == DType::q8_0 || type == DType::q4_0 || type == DType::q4_1 || type == DType::q4_k ||
         type == DType::q6_k;
}

void multiplyFewRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate) {
  const int64_t rows = c.shape[0], outputs = c.shape[1], depth = a.shape[1], groups = depth / kGroup;
  const auto count = static_cast<size_t>(rows * groups);
  const FixedRows x{rows, groups, static_cast<int16_t*>(scratch<40>(count * kGroup * sizeof(int16_t))),
                    static_cast<float*>(scratch<41>(count * 2 * sizeof(float)))};
  parallelRanges(rows * groups, kGroup, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(FixRows)(a, begin, end, x);
  });
  parallelRanges(outputs, depth, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(MultiplyBlocks)(x, weight, c, begin, end, alpha, accumulate);
  });
}

void multiplyOneRow(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate) {
  const int64_t outputs = c.shape[1], depth = a.shape[1];
  const float* x = static_cast<const float*>(a.data);
  if (a.dtype != DType::f32) {
    auto* const values = static_cast<float*>(scratch<42>(static_cast<size_t>(depth) * sizeof(float)));
    convertRow(a.dtype, a.data, DType::f32, values, depth);
    x = values;
  }
  parallelRanges(outputs, depth, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(MultiplyFloats)(x, weight, c, begin, end, alpha, accumulate);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
