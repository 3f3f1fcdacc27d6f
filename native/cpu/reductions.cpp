// Sums and counts over whole tensors. Chunks have a fixed length, so the order of a sum does not depend on threads.
#include <algorithm>
#include <limits>
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

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SumChunk);
HWY_EXPORT(CountNonFiniteChunk);

namespace {

/// Adds chunk(begin, end) over fixed chunks of a dense tensor, in order.
template <typename Number, typename Chunk>
Number overChunks(const TensorDesc& x, Chunk&& chunk) {
  constexpr int64_t kChunk = 16384;
  const int64_t count = elementsOf(x);
  std::vector<Number> partials(static_cast<size_t>((count + kChunk - 1) / kChunk));
  parallelRanges(static_cast<int64_t>(partials.size()), kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      partials[static_cast<size_t>(i)] = chunk(i * kChunk, std::min(count, (i + 1) * kChunk));
  });
  return std::accumulate(partials.begin(), partials.end(), Number{0});
}

}  // namespace

void sum(TensorDesc x, TensorDesc total, bool accumulate) {
  const double added = overChunks<double>(
      x, [&](int64_t begin, int64_t end) { return HWY_DYNAMIC_DISPATCH(SumChunk)(x.dtype, x.data, begin, end); });
  auto* const result = static_cast<float*>(total.data);
  *result = static_cast<float>((accumulate ? *result : 0.0) + added);
}

void countNonFinite(TensorDesc x, TensorDesc count, bool accumulate) {
  const int64_t added = overChunks<int64_t>(x, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(CountNonFiniteChunk)(x.dtype, x.data, begin, end);
  });
  auto* const result = static_cast<int32_t*>(count.data);
  const int64_t all = (accumulate ? *result : 0) + added;
  *result = static_cast<int32_t>(std::min<int64_t>(all, std::numeric_limits<int32_t>::max()));
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
