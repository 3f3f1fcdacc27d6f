#include "cpu/products/panel_order.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/products/panel_order.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Packs part of a block, value by value, with zeros beyond the end of b.
inline void packValues(const RightOperand& b, int64_t firstRow, int64_t firstColumn, int64_t from, int64_t width,
                       uint16_t* block) {
  for (int64_t row = 0; row < kPackedRows; ++row) {
    for (int64_t column = from; column < width; ++column) {
      const int64_t i = firstRow + row, j = firstColumn + column;
      block[(row / 2 * width + column) * 2 + row % 2] =
          i < b.rows && j < b.columns ? b.values[i * b.rowStride + j * b.columnStride] : uint16_t{0};
    }
  }
}

/// Packs the first `count` columns of a block with contiguous rows: interleaves pairs of rows.
inline void interleaveRows(const RightOperand& b, int64_t firstRow, int64_t firstColumn, int64_t count, int64_t width,
                           uint16_t* block) {
  const hn::CappedTag<uint16_t, 16> tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (int64_t pair = 0; pair < kPackedRows / 2; ++pair) {
    const uint16_t* const row = b.values + (firstRow + 2 * pair) * b.rowStride + firstColumn;
    for (int64_t column = 0; column < count; column += lanes) {
      const auto upper = hn::LoadU(tag, row + column), lower = hn::LoadU(tag, row + b.rowStride + column);
      uint16_t* const to = block + (pair * width + column) * 2;
      hn::StoreU(hn::InterleaveWholeLower(tag, upper, lower), tag, to);
      hn::StoreU(hn::InterleaveWholeUpper(tag, upper, lower), tag, to + lanes);
    }
  }
}

/// Packs the first `count` columns of a block with contiguous columns: a pair of rows is one 32-bit value in each
/// column, and 4 x 4 squares of these are transposed.
inline void transposePairs(const RightOperand& b, int64_t firstRow, int64_t firstColumn, int64_t count, int64_t width,
                           uint16_t* block) {
  const hn::FixedTag<uint32_t, 4> words;
  const hn::FixedTag<uint64_t, 2> doubles;
  constexpr int64_t kSide = 4, kPairs = kPackedRows / 2;
  auto* const to = reinterpret_cast<uint32_t*>(block);
  for (int64_t column = 0; column < count; column += kSide) {
    const uint16_t* const first = b.values + firstRow + (firstColumn + column) * b.columnStride;
    for (int64_t pair = 0; pair < kPairs; pair += kSide) {
      const auto load = [&](int64_t i) HWY_ATTR {
        return hn::LoadU(words, reinterpret_cast<const uint32_t*>(first + i * b.columnStride + 2 * pair));
      };
      const auto c0 = load(0), c1 = load(1), c2 = load(2), c3 = load(3);
      const auto low01 = hn::BitCast(doubles, hn::InterleaveLower(words, c0, c1));
      const auto low23 = hn::BitCast(doubles, hn::InterleaveLower(words, c2, c3));
      const auto high01 = hn::BitCast(doubles, hn::InterleaveUpper(words, c0, c1));
      const auto high23 = hn::BitCast(doubles, hn::InterleaveUpper(words, c2, c3));
      const auto store = [&](int64_t i, auto values) HWY_ATTR {
        hn::StoreU(hn::BitCast(words, values), words, to + (pair + i) * width + column);
      };
      store(0, hn::InterleaveLower(doubles, low01, low23));
      store(1, hn::InterleaveUpper(doubles, low01, low23));
      store(2, hn::InterleaveLower(doubles, high01, high23));
      store(3, hn::InterleaveUpper(doubles, high01, high23));
    }
  }
}

void PackPairs(const RightOperand& b, int64_t width, uint16_t* packed) {
  constexpr int64_t kStep = 16;  // columns per step of vectors
  for (int64_t column = 0; column < b.columns; column += width) {
    for (int64_t row = 0; row < b.rows; row += kPackedRows, packed += kPackedRows * width) {
      const bool whole = row + kPackedRows <= b.rows && (b.columnStride == 1 || b.rowStride == 1);
      const int64_t count = whole ? std::min(width, b.columns - column) / kStep * kStep : 0;
      if (b.columnStride == 1)
        interleaveRows(b, row, column, count, width, packed);
      else
        transposePairs(b, row, column, count, width, packed);
      packValues(b, row, column, count, width, packed);
    }
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(PackPairs);

void packPairs(const RightOperand& b, int64_t width, uint16_t* packed) {
  HWY_DYNAMIC_DISPATCH(PackPairs)(b, width, packed);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
