#include "cpu/products/rank_updates.h"

#include <algorithm>

#include "cpu/float_types.h"
#include "cpu/parallel.h"
#include "cpu/products/matrix_units.h"
#include "cpu/products/panel_order.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/products/rank_updates.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

#if HWY_NATIVE_DOT_BF16 && HWY_ARCH_X86

constexpr bool kMultiplies = true;
constexpr int64_t kWidth = 64;    // of a block of packPairs
constexpr int64_t kColumns = 16;  // of a vector
using SumTag = hn::FixedTag<float, kColumns>;
using WordTag = hn::FixedTag<uint32_t, kColumns>;
using PairTag = hn::FixedTag<hwy::bfloat16_t, 2 * kColumns>;

/// kRows rows of c (+)= alpha left [kRows, pairs] right, in blocks of packPairs.
template <int kRows, typename T>
HWY_INLINE void multiplyRows(const uint32_t* HWY_RESTRICT left, int64_t pairs, const uint16_t* HWY_RESTRICT right,
                             const TensorDesc& c, int64_t first, float alpha, bool accumulate) {
  const int64_t columns = columnsOf(c);
  T* rows[kRows];
  for (int row = 0; row < kRows; ++row) rows[row] = rowOf<T>(c, first + row);
  for (int64_t column = 0; column < columns; column += kColumns) {
    const uint16_t* const block = right + column / kWidth * kPackedRows * kWidth + column % kWidth * 2;
    hn::Vec<SumTag> sums[kRows];
    for (auto& sum : sums) sum = hn::Zero(SumTag());
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const auto values =
          hn::BitCast(PairTag(), hn::LoadU(hn::Repartition<uint16_t, PairTag>(), block + pair * 2 * kWidth));
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        auto unused = hn::Zero(SumTag());
        const auto own = hn::BitCast(PairTag(), hn::Set(WordTag(), left[row * pairs + pair]));
        sums[row] = hn::ReorderWidenMulAccumulate(SumTag(), values, own, sums[row], unused);
      }
    }
    const auto finish = [&](auto part) HWY_ATTR {
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        T* const to = rows[row] + column;
        // The next rows arrive while these are computed.
        __builtin_prefetch(to + kRows * c.strides[0], 1);
        const FloatVector scaled = hn::Mul(sums[row], broadcast(alpha));
        store(accumulate ? hn::Add(scaled, load(to, part)) : scaled, to, part);
      }
    };
    if (columns - column >= kColumns)
      finish(WholeVector{});
    else
      finish(PartVector{static_cast<size_t>(columns - column)});
  }
}

/// Rows [begin, end) of c.
void MultiplyRankUpdate(const uint32_t* left, int64_t pairs, const uint16_t* right, const TensorDesc& c, int64_t begin,
                        int64_t end, float alpha, bool accumulate) {
  constexpr int64_t kTogether = 8;
  withFloatType(c.dtype, "matmul", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    int64_t row = begin;
    for (; row + kTogether <= end; row += kTogether)
      multiplyRows<kTogether, T>(left + row * pairs, pairs, right, c, row, alpha, accumulate);
    for (; row < end; ++row) multiplyRows<1, T>(left + row * pairs, pairs, right, c, row, alpha, accumulate);
  });
}

#else

constexpr bool kMultiplies = false;

void MultiplyRankUpdate(const uint32_t*, int64_t, const uint16_t*, const TensorDesc&, int64_t, int64_t, float, bool) {
  unsupported("matmul of bf16 by pairs");
}

#endif

// On other processors the library's kernels have not been measured beside it.
bool UpdatesRanks() { return kMultiplies && hasMatrixUnits(); }

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MultiplyRankUpdate);
HWY_EXPORT(UpdatesRanks);

bool prefersRankUpdate(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c) {
  // Longer sums, and fewer columns or rows, leave other kernels enough to do with what they read.
  constexpr int64_t kMostDepth = 16, kLeastColumns = 64, kLeastRows = 64;
  static const bool updates = HWY_DYNAMIC_DISPATCH(UpdatesRanks)();
  const bool areRows = a.rank == 2 && a.strides[1] == 1 && b.strides[1] == 1 && c.strides[1] == 1;
  return updates && areRows && a.dtype == DType::bf16 && b.dtype == DType::bf16 && a.shape[1] <= kMostDepth &&
         c.shape[0] >= kLeastRows && c.shape[1] >= kLeastColumns && b.shape[transposeB ? 1 : 0] == a.shape[1];
}

void multiplyRankUpdate(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, float alpha,
                        bool accumulate) {
  constexpr int64_t kWidth = 64;
  const int64_t rows = c.shape[0], columns = c.shape[1], depth = a.shape[1], pairs = (depth + 1) / 2;
  Scratch scratch;
  auto* const left = scratch.take<uint32_t>(rows * pairs);
  auto* const right = scratch.take<uint16_t>((columns + kWidth - 1) / kWidth * kWidth * kPackedRows);
  packPairs({static_cast<const uint16_t*>(b.data), depth, columns, transposeB ? 1 : b.strides[0],
             transposeB ? b.strides[0] : 1},
            kWidth, right);
  parallelRanges(
      rows, columns,
      [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          auto* const to = left + row * pairs;
          const auto* const from = rowOf<const uint16_t>(a, row);
          for (int64_t pair = 0; pair < pairs; ++pair)
            to[pair] = from[2 * pair] | (2 * pair + 1 < depth ? static_cast<uint32_t>(from[2 * pair + 1]) << 16 : 0);
        }
        HWY_DYNAMIC_DISPATCH(MultiplyRankUpdate)(left, pairs, right, c, begin, end, alpha, accumulate);
      },
      8);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
