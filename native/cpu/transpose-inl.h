// Transposes of matrices of 4-byte elements. Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_TRANSPOSE_INL_H_
#undef MORA_CPU_TRANSPOSE_INL_H_
#else
#define MORA_CPU_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// to [columns, rows] = transpose of from [rows, columns]; both counts are rounded up to multiples of 4.
HWY_INLINE void transposeUnits(const uint32_t* HWY_RESTRICT from, int64_t fromStride, int64_t rows, int64_t columns,
                               uint32_t* HWY_RESTRICT to, int64_t toStride) {
  const hn::FixedTag<uint32_t, 4> single;
  const hn::FixedTag<uint64_t, 2> twice;
  for (int64_t row = 0; row < rows; row += 4) {
    for (int64_t column = 0; column < columns; column += 4) {
      const uint32_t* source = from + row * fromStride + column;
      const auto a = hn::LoadU(single, source), b = hn::LoadU(single, source + fromStride);
      const auto c = hn::LoadU(single, source + 2 * fromStride), d = hn::LoadU(single, source + 3 * fromStride);
      const auto ab = hn::BitCast(twice, hn::InterleaveLower(single, a, b));
      const auto cd = hn::BitCast(twice, hn::InterleaveLower(single, c, d));
      const auto abUpper = hn::BitCast(twice, hn::InterleaveUpper(single, a, b));
      const auto cdUpper = hn::BitCast(twice, hn::InterleaveUpper(single, c, d));
      uint32_t* target = to + column * toStride + row;
      hn::StoreU(hn::BitCast(single, hn::InterleaveLower(twice, ab, cd)), single, target);
      hn::StoreU(hn::BitCast(single, hn::InterleaveUpper(twice, ab, cd)), single, target + toStride);
      hn::StoreU(hn::BitCast(single, hn::InterleaveLower(twice, abUpper, cdUpper)), single, target + 2 * toStride);
      hn::StoreU(hn::BitCast(single, hn::InterleaveUpper(twice, abUpper, cdUpper)), single, target + 3 * toStride);
    }
  }
}

/// to [columns, rows] = transpose of from [rows, columns], which is dense.
HWY_INLINE void transpose(const float* HWY_RESTRICT from, int64_t rows, int64_t columns, float* HWY_RESTRICT to,
                          int64_t toStride) {
  const int64_t wholeRows = rows - rows % 4, wholeColumns = columns - columns % 4;
  transposeUnits(reinterpret_cast<const uint32_t*>(from), columns, wholeRows, wholeColumns,
                 reinterpret_cast<uint32_t*>(to), toStride);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = i < wholeRows ? wholeColumns : 0; j < columns; ++j) to[j * toStride + i] = from[i * columns + j];
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
