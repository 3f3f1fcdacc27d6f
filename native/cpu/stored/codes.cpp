#include "cpu/stored/codes.h"

#include <algorithm>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"
#include "cpu/stored/convert.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/stored/codes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Splits `count` 4-bit codes, an even number, two in a byte, into bytes.
void SplitCodes(const uint8_t* HWY_RESTRICT pairs, bool highFirst, int64_t count, uint8_t* HWY_RESTRICT codes) {
  const hn::FixedTag<uint8_t, 16> bytes;
  const auto low = hn::Set(bytes, uint8_t{15});
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const auto pair = hn::LoadU(bytes, pairs + i / 2);
    const auto lower = hn::And(pair, low), upper = hn::ShiftRight<4>(pair);
    const auto even = highFirst ? upper : lower, odd = highFirst ? lower : upper;
    hn::StoreU(hn::InterleaveLower(bytes, even, odd), bytes, codes + i);
    hn::StoreU(hn::InterleaveUpper(bytes, even, odd), bytes, codes + i + 16);
  }
  for (; i < count; i += 2) {
    const uint8_t pair = pairs[i / 2];
    codes[i + highFirst] = pair & 15;
    codes[i + !highFirst] = pair >> 4;
  }
}

/// values = (table[codes], or the codes themselves, - zero) * scale.
void ScaleCodes(const uint8_t* HWY_RESTRICT codes, const float* HWY_RESTRICT table, int bits, float scale, float zero,
                int64_t count, float* HWY_RESTRICT values) {
  const hn::ScalableTag<float> floats;
  const hn::Rebind<int32_t, decltype(floats)> integers;
  const hn::Rebind<uint8_t, decltype(floats)> bytes;
  const auto lanes = static_cast<int64_t>(hn::Lanes(floats));
  const auto factor = hn::Set(floats, scale), offset = hn::Set(floats, zero);
  int64_t i = 0;
  const auto forVectors = [&](auto valuesOf) HWY_ATTR {
    for (; i + lanes <= count; i += lanes) {
      const auto code = hn::PromoteTo(integers, hn::LoadU(bytes, codes + i));
      hn::StoreU(hn::Mul(factor, hn::Sub(valuesOf(code), offset)), floats, values + i);
    }
  };
  if (!table) {
    forVectors([&](auto code) HWY_ATTR { return hn::ConvertTo(floats, code); });
  } else if (bits == 4 && lanes == 16) {
    const auto entries = hn::LoadU(floats, table);
    forVectors([&](auto code) HWY_ATTR { return hn::TableLookupLanes(entries, hn::IndicesFromVec(floats, code)); });
  } else if (bits == 4 && lanes == 8) {
    const auto first = hn::LoadU(floats, table), second = hn::LoadU(floats, table + 8);
    forVectors([&](auto code) HWY_ATTR {
      return hn::TwoTablesLookupLanes(floats, first, second, hn::IndicesFromVec(floats, code));
    });
  } else {
    forVectors([&](auto code) HWY_ATTR { return hn::GatherIndex(floats, table, code); });
  }
  for (; i < count; ++i) values[i] = scale * ((table ? table[codes[i]] : static_cast<float>(codes[i])) - zero);
}

/// ScaleCodes with the scale and the zero of each code's group.
void ScaleByGroup(const uint8_t* HWY_RESTRICT codes, const float* HWY_RESTRICT table,
                  const int32_t* HWY_RESTRICT groups, const float* HWY_RESTRICT scales, const float* HWY_RESTRICT zeros,
                  int64_t count, float* HWY_RESTRICT values) {
  const hn::ScalableTag<float> floats;
  const hn::Rebind<int32_t, decltype(floats)> integers;
  const hn::Rebind<uint8_t, decltype(floats)> bytes;
  const auto lanes = static_cast<int64_t>(hn::Lanes(floats));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto code = hn::PromoteTo(integers, hn::LoadU(bytes, codes + i));
    const auto group = hn::LoadU(integers, groups + i);
    const auto value = table ? hn::GatherIndex(floats, table, code) : hn::ConvertTo(floats, code);
    const auto scale = hn::GatherIndex(floats, scales, group), zero = hn::GatherIndex(floats, zeros, group);
    hn::StoreU(hn::Mul(scale, hn::Sub(value, zero)), floats, values + i);
  }
  for (; i < count; ++i) {
    const float value = table ? table[codes[i]] : static_cast<float>(codes[i]);
    values[i] = scales[groups[i]] * (value - zeros[groups[i]]);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SplitCodes);
HWY_EXPORT(ScaleCodes);
HWY_EXPORT(ScaleByGroup);

namespace {

float scaleOf(const CodedMatrix& matrix, int64_t i) {
  const CodeLayout& layout = matrix.layout;
  if (matrix.scales.dtype == DType::u8) {
    const auto code = static_cast<const uint8_t*>(matrix.scales.data)[i];
    const float outer = static_cast<const float*>(matrix.scaleScales.data)[i / layout.scalesPerScale];
    const float product = outer * static_cast<const float*>(matrix.scaleTable.data)[code];
    return layout.scaleOffset == 0 ? product : product + layout.scaleOffset;
  }
  float scale = 0;
  withFloatType(matrix.scales.dtype, "unpackCodes", [&](auto type) {
    scale = hwy::ConvertScalarTo<float>(static_cast<const decltype(type)*>(matrix.scales.data)[i]);
  });
  return scale;
}

float zeroOf(const CodedMatrix& matrix, int64_t i) {
  return present(matrix.zeros) ? static_cast<float>(static_cast<const uint8_t*>(matrix.zeros.data)[i])
                               : matrix.layout.zero;
}

}  // namespace

void readScales(const CodedMatrix& matrix, int64_t first, int64_t count, float* scales, float* zeros) {
  const DType dtype = matrix.scales.dtype;
  if (dtype == DType::u8)
    for (int64_t i = 0; i < count; ++i) scales[i] = scaleOf(matrix, first + i);
  else
    convertRow(dtype, static_cast<const std::byte*>(matrix.scales.data) + first * traitsOf(dtype).blockBytes,
               DType::f32, scales, count);
  for (int64_t i = 0; i < count; ++i) zeros[i] = zeroOf(matrix, first + i);
}

void unpackCodedRow(const CodedMatrix& matrix, int64_t row, int64_t column, int64_t count, float* values) {
  const CodeLayout& layout = matrix.layout;
  const auto* const bytes = rowOf<const uint8_t>(matrix.codes, row) + column * layout.bits / 8;
  const auto* const table = static_cast<const float*>(matrix.table.data);
  uint8_t split[kCodePiece + 1];
  if (layout.bits == 4) HWY_DYNAMIC_DISPATCH(SplitCodes)(bytes, layout.highFirst != 0, count + count % 2, split);
  const uint8_t* const codes = layout.bits == 4 ? split : bytes;
  if (present(matrix.groups)) {
    const int64_t groups = layout.groupsOfRow(), first = layout.scaleAt(row, 0, 0);
    Scratch scratch;
    auto* const scales = scratch.take<float>(2 * groups);
    float* const zeros = scales + groups;
    readScales(matrix, first, groups, scales, zeros);
    const auto* const of = static_cast<const int32_t*>(matrix.groups.data) + column;
    return HWY_DYNAMIC_DISPATCH(ScaleByGroup)(codes, table, of, scales, zeros, count, values);
  }
  const int64_t start = layout.runsOn ? (layout.firstRow + row) * layout.columns : 0;
  for (int64_t i = 0; i < count;) {
    const int64_t at = start + column + i, group = at / layout.groupSize;
    const int64_t length = std::min(count - i, (group + 1) * layout.groupSize - at);
    const int64_t scale = layout.runsOn ? group : layout.scaleAt(row, column + i, group);
    HWY_DYNAMIC_DISPATCH(ScaleCodes)
    (codes + i, table, layout.bits, scaleOf(matrix, scale), zeroOf(matrix, scale), length, values + i);
    i += length;
  }
}

namespace {

/// Writes columns [column, column + target's width) of a row to row `to` of the target.
void unpackInto(const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target, int64_t to) {
  const int64_t columns = columnsOf(target), bytes = traitsOf(target.dtype).blockBytes;
  auto* const start = static_cast<std::byte*>(target.data) + to * target.strides[0] * bytes;
  alignas(64) float piece[kCodePiece];
  for (int64_t i = 0; i < columns; i += kCodePiece) {
    const int64_t count = std::min(kCodePiece, columns - i);
    const bool direct = target.dtype == DType::f32;
    float* const values = direct ? reinterpret_cast<float*>(start) + i : piece;
    unpackCodedRow(matrix, row, column + i, count, values);
    if (!direct) convertRow(DType::f32, values, target.dtype, start + i * bytes, count);
  }
}

}  // namespace

void unpackPanel(const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target) {
  parallelRanges(target.shape[0], columnsOf(target), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) unpackInto(matrix, row + i, column, target, i);
  });
}

void unpackCodes(CodedMatrix source, TensorDesc rows, TensorDesc target) {
  if (present(source.groups)) requireIndices("unpackCodes", source.groups, source.layout.groupsOfRow());
  if (!present(rows)) return unpackPanel(source, 0, 0, target);
  requireIndices("unpackCodes", rows, source.codes.shape[0]);
  const auto* const at = static_cast<const int32_t*>(rows.data);
  parallelRanges(target.shape[0], columnsOf(target), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) unpackInto(source, at[i], 0, target, i);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
