// Sums, counts and maxima over whole tensors. Chunks have a fixed length, so the order of a sum does not depend on
// threads.
#include <algorithm>
#include <numeric>
#include <vector>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/reductions.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

double SumChunk(DType type, const void* data, int64_t begin, int64_t end) {
  const hn::Repartition<double, FloatTag> wide;
  auto lower = hn::Zero(wide), upper = hn::Zero(wide);
  withFloatType(type, "sum", [&](auto element) HWY_ATTR {
    const auto* const x = static_cast<const decltype(element)*>(data) + begin;
    forVectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
      const FloatVector v = load(x + i, part);
      lower = hn::Add(lower, hn::PromoteLowerTo(wide, v));
      upper = hn::Add(upper, hn::PromoteUpperTo(wide, v));
    });
  });
  return hn::ReduceSum(wide, hn::Add(lower, upper));
}

int64_t CountNonFiniteChunk(DType type, const void* data, int64_t begin, int64_t end) {
  int64_t count = 0;
  withFloatType(type, "countNonFinite", [&](auto element) HWY_ATTR {
    const auto* const x = static_cast<const decltype(element)*>(data) + begin;
    forVectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
      const auto finite = hn::IsFinite(load(x + i, part));
      count += static_cast<int64_t>(hn::CountTrue(FloatTag(), hn::Not(finite)));
    });
  });
  return count;
}

float LargestDifferenceChunk(DType type, const void* a, const void* b, int64_t begin, int64_t end) {
  FloatVector largest = broadcast(0.0f);
  withFloatType(type, "largestDifference", [&](auto element) HWY_ATTR {
    const auto* const x = static_cast<const decltype(element)*>(a) + begin;
    const auto* const y = static_cast<const decltype(element)*>(b) + begin;
    forVectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
      const FloatVector difference = hn::Abs(hn::Sub(load(x + i, part), load(y + i, part)));
      largest = hn::IfThenElse(hn::Gt(difference, largest), difference, largest);
    });
  });
  return hn::ReduceMax(FloatTag(), largest);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SumChunk);
HWY_EXPORT(CountNonFiniteChunk);
HWY_EXPORT(LargestDifferenceChunk);

namespace {

/// Calls chunk(begin, end) for each fixed chunk of a dense tensor.
template <typename Number, typename Chunk>
std::vector<Number> ofChunks(const TensorDesc& x, Chunk&& chunk) {
  constexpr int64_t kChunk = 16384;
  const int64_t count = elementsOf(x);
  std::vector<Number> values(static_cast<size_t>((count + kChunk - 1) / kChunk));
  parallelRanges(static_cast<int64_t>(values.size()), kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      values[static_cast<size_t>(i)] = chunk(i * kChunk, std::min(count, (i + 1) * kChunk));
  });
  return values;
}

}  // namespace

void sum(TensorDesc x, TensorDesc total, bool accumulate) {
  const std::vector<double> sums = ofChunks<double>(
      x, [&](int64_t begin, int64_t end) { return HWY_DYNAMIC_DISPATCH(SumChunk)(x.dtype, x.data, begin, end); });
  auto* const result = static_cast<float*>(total.data);
  *result = static_cast<float>(std::accumulate(sums.begin(), sums.end(), 0.0) + (accumulate ? *result : 0.0));
}

void countNonFinite(TensorDesc x, TensorDesc count, bool accumulate) {
  const std::vector<int64_t> counts = ofChunks<int64_t>(x, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(CountNonFiniteChunk)(x.dtype, x.data, begin, end);
  });
  if (!accumulate) *static_cast<int32_t*>(count.data) = 0;
  addCount(count, std::accumulate(counts.begin(), counts.end(), int64_t{0}));
}

void largestDifference(TensorDesc a, TensorDesc b, TensorDesc largest, bool accumulate) {
  const std::vector<float> differences = ofChunks<float>(a, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(LargestDifferenceChunk)(a.dtype, a.data, b.data, begin, end);
  });
  auto* const result = static_cast<float*>(largest.data);
  if (!accumulate) *result = 0;
  for (const float difference : differences) *result = std::max(*result, difference);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
