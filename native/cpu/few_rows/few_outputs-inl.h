// The outputs of products of few rows, which read the weight as two streams, for one instruction set at a time: include
// it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_FEW_OUTPUTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_FEW_OUTPUTS_INL_H_
#undef MORA_CPU_FEW_OUTPUTS_INL_H_
#else
#define MORA_CPU_FEW_OUTPUTS_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "cpu/few_rows/few_rows.h"
#include "cpu/float_types.h"
#include "cpu/simd_float-inl.h"
#include "cpu/stored/codes.h"
#include "cpu/tensor_view.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Outputs whose sums are collected before they are stored.
constexpr int64_t kOutputs = 32;

/// c [:, begin .. end) = alpha sums [rows, kOutputs] (+ c)
inline void storeSums(const float (*sums)[kOutputs], const TensorDesc& c, int64_t begin, int64_t end, float alpha,
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

/// Computes outputs [begin, begin + count) of each of kStreams parts of a weight, which are `apart` rows from each
/// other: dots(output, give) computes those of that row of every part, and calls give(part, row of c, sum).
template <int kStreams, class Dots>
HWY_INLINE void multiplyStreams(const TensorDesc& c, int64_t begin, int64_t count, int64_t apart, float alpha,
                                bool accumulate, Dots dots) {
  float sums[kStreams][kMostFewRows][kOutputs];
  for (int64_t from = begin; from < begin + count; from += kOutputs) {
    const int64_t to = std::min(begin + count, from + kOutputs);
    for (int64_t output = from; output < to; ++output)
      dots(output, [&](int stream, int64_t row, float sum) { sums[stream][row][output - from] = sum; });
    for (int i = 0; i < kStreams; ++i) storeSums(sums[i], c, from + i * apart, to + i * apart, alpha, accumulate);
  }
}

/// Outputs [begin, end) for x [c.shape[0], depth] and a weight: `unpack(output, column, count, values)` writes at most
/// kCodePiece values of a row, which stay in the nearest cache.
template <class Unpack>
HWY_INLINE void multiplyUnpacked(const float* HWY_RESTRICT x, int64_t depth, const TensorDesc& c, int64_t begin,
                                 int64_t end, float alpha, bool accumulate, Unpack unpack) {
  alignas(64) float values[kCodePiece];
  multiplyStreams<1>(c, begin, end - begin, 0, alpha, accumulate, [&](int64_t output, auto give) HWY_ATTR {
    float sums[kMostFewRows] = {};
    for (int64_t column = 0; column < depth; column += kCodePiece) {
      const int64_t count = std::min(kCodePiece, depth - column);
      unpack(output, column, count, values);
      for (int64_t row = 0; row < c.shape[0]; ++row) {
        const float* const own = x + row * depth + column;
        FloatVector sum = broadcast(0);
        forVectors(count, [&](int64_t i, auto part)
                              HWY_ATTR { sum = hn::MulAdd(load(values + i, part), load(own + i, part), sum); });
        sums[row] += hn::ReduceSum(FloatTag(), sum);
      }
    }
    for (int64_t row = 0; row < c.shape[0]; ++row) give(0, row, sums[row]);
  });
}

/// Reads the weight as two streams, since two distant runs of memory are read faster than one or than two close ones.
template <class Run>
HWY_INLINE void inTwoStreams(int64_t begin, int64_t end, Run run) {
  const int64_t half = (end - begin) / 2;
  run(std::integral_constant<int, 2>(), begin, half, half);
  run(std::integral_constant<int, 1>(), begin + 2 * half, end - begin - 2 * half, int64_t{0});
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
