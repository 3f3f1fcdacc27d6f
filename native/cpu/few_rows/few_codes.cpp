// Products of few rows with matrices of small codes (few_rows.h).
#include <algorithm>

#include "cpu/few_rows/few_rows.h"
#include "cpu/parallel.h"
#include "cpu/prefetch.h"
#include "cpu/scratch.h"
#include "cpu/stored/codes.h"
#include "cpu/stored/convert.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/few_rows/few_codes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/few_rows/few_outputs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Rows of activations in f32. For codes of 4 bits, a row starts with the columns whose codes are low halves of bytes,
/// then the others, as in a vector of bytes.
struct CodeRows {
  const float* values;  // [rows, columns]
  int64_t rows, columns;

  const float* at(int64_t row, int64_t column) const { return values + row * columns + column; }
};

using CodeTag = hn::RebindToSigned<FloatTag>;
using CodeVector = hn::Vec<CodeTag>;

template <class Part>
HWY_INLINE CodeVector loadBytes(const uint8_t* from, Part part) {
  return hn::PromoteTo(CodeTag(), loadRaw(hn::Rebind<uint8_t, FloatTag>(), from, part));
}

/// Values of codes in a group of columns, which share a scale and a zero. For 8-bit codes `table` may be null: then a
/// code is its own value.
template <int kBits>
class GroupValues;

template <>
class GroupValues<4> {
 public:
  HWY_INLINE GroupValues(const float* table, float zero)
      : table_(table), zero_(broadcast(zero)), first_(levels(0)), second_(levels(hn::Lanes(FloatTag()) == 8 ? 8 : 0)) {}

  HWY_INLINE FloatVector operator()(CodeVector codes) const {
    const FloatTag floats;
    const size_t lanes = hn::Lanes(floats);
    if (lanes == 16) return hn::TableLookupLanes(first_, hn::IndicesFromVec(floats, codes));
    if (lanes == 8) return hn::TwoTablesLookupLanes(floats, first_, second_, hn::IndicesFromVec(floats, codes));
    return hn::Sub(hn::GatherIndex(floats, table_, codes), zero_);
  }

 private:
  const float* table_;
  FloatVector zero_, first_, second_;

  HWY_INLINE FloatVector levels(int64_t from) const { return hn::Sub(load(table_ + from, WholeVector{}), zero_); }
};

template <>
class GroupValues<8> {
 public:
  HWY_INLINE GroupValues(const float* table, float zero) : table_(table), zero_(zero) {}

  HWY_INLINE FloatVector operator()(CodeVector codes) const {
    const FloatTag floats;
    return hn::Sub(table_ ? hn::GatherIndex(floats, table_, codes) : hn::ConvertTo(floats, codes), broadcast(zero_));
  }

 private:
  const float* table_;
  float zero_;
};

/// totals [kRows] += scale * the products of a group of columns with kRows rows from `row`.
template <int kBits, int kRows>
HWY_INLINE void addGroup(const uint8_t* HWY_RESTRICT codes, const GroupValues<kBits>& values, float scale,
                         const CodeRows& x, int64_t row, int64_t column, int64_t count, FloatVector (&totals)[kRows]) {
  constexpr int64_t kOfByte = 8 / kBits;
  FloatVector sums[kRows][kOfByte];
  for (auto& own : sums)
    for (FloatVector& sum : own) sum = broadcast(0);
  const uint8_t* const bytes = codes + column / kOfByte;
  prefetchLater(bytes, count / kOfByte);
  forVectors(count / kOfByte, [&](int64_t i, auto part) HWY_ATTR {
    const CodeVector both = loadBytes(bytes + i, part);
#pragma GCC unroll 2
    for (int64_t n = 0; n < kOfByte; ++n) {
      CodeVector code = both;
      if constexpr (kBits == 4) code = n == 0 ? hn::And(both, hn::Set(CodeTag(), 15)) : hn::ShiftRight<4>(both);
      const FloatVector value = values(code);
      const int64_t at = n * x.columns / kOfByte + column / kOfByte + i;
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r][n] = hn::MulAdd(value, load(x.at(row + r, at), part), sums[r][n]);
    }
  });
  for (int r = 0; r < kRows; ++r) {
    FloatVector sum = sums[r][0];
    if constexpr (kOfByte == 2) sum = hn::Add(sum, sums[r][1]);
    totals[r] = hn::MulAdd(broadcast(scale), sum, totals[r]);
  }
}

/// The groups of a row, in order.
struct RowGroups {
  int64_t first, count;   // indices among all scales
  int64_t size, skipped;  // columns of a group, and columns of the first group that precede the row

  RowGroups(const CodeLayout& layout, int64_t row) : size(layout.groupSize) {
    const int64_t start = layout.runsOn ? (layout.firstRow + row) * layout.columns : 0;
    skipped = start % size;
    first = layout.scaleAt(row, 0, 0);
    count = (skipped + layout.columns + size - 1) / size;
  }
};

/// dots [kRows] of a row of the weight with rows of x from `row`.
template <int kBits, int kRows>
HWY_INLINE void codeDots(const float* table, const RowGroups& groups, const uint8_t* codes, const float* scales,
                         const float* zeros, const CodeRows& x, int64_t row, float (&dots)[kRows]) {
  FloatVector totals[kRows];
  for (FloatVector& total : totals) total = broadcast(0);
  for (int64_t group = 0; group < groups.count; ++group) {
    const int64_t from = std::max<int64_t>(0, group * groups.size - groups.skipped);
    const int64_t to = std::min(x.columns, (group + 1) * groups.size - groups.skipped);
    addGroup<kBits, kRows>(codes, GroupValues<kBits>(table, zeros[group]), scales[group], x, row, from, to - from,
                           totals);
  }
  for (int r = 0; r < kRows; ++r) dots[r] = hn::ReduceSum(FloatTag(), totals[r]);
}

/// Calls body(row, count) for four, two and one rows at a time.
template <class Body>
HWY_INLINE void forRows(int64_t rows, Body body) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) body(row, std::integral_constant<int, 4>());
  for (; row + 2 <= rows; row += 2) body(row, std::integral_constant<int, 2>());
  if (row < rows) body(row, std::integral_constant<int, 1>());
}

template <int kBits>
void multiplyGroups(const CodeRows& x, const CodedMatrix& weight, const TensorDesc& c, int64_t begin, int64_t end,
                    float alpha, bool accumulate) {
  const CodeLayout& layout = weight.layout;
  const auto* table = static_cast<const float*>(weight.table.data);
  float numbers[16];
  for (int i = 0; i < 16; ++i) numbers[i] = static_cast<float>(i);
  if (kBits == 4 && !table) table = numbers;
  const int64_t most = x.columns / layout.groupSize + 2;
  Scratch scratch;
  auto* const scales = scratch.take<float>(2 * most);
  float* const zeros = scales + most;
  inTwoStreams(begin, end, [&](auto streams, int64_t first, int64_t count, int64_t apart) HWY_ATTR {
    constexpr int kStreams = decltype(streams)::value;
    multiplyStreams<kStreams>(c, first, count, apart, alpha, accumulate, [&](int64_t output, auto give) HWY_ATTR {
      for (int i = 0; i < kStreams; ++i) {
        const int64_t own = output + i * apart;
        const RowGroups groups(layout, own);
        readScales(weight, groups.first, groups.count, scales, zeros);
        const auto* const codes = rowOf<const uint8_t>(weight.codes, own);
        forRows(x.rows, [&](int64_t row, auto together) HWY_ATTR {
          constexpr int kRows = decltype(together)::value;
          float dots[kRows];
          codeDots<kBits, kRows>(table, groups, codes, scales, zeros, x, row, dots);
          for (int r = 0; r < kRows; ++r) give(i, row + r, dots[r]);
        });
      }
    });
  });
}

/// Multiplies x [m, k], in the order of CodeRows.
void MultiplyGroups(const float* values, const CodedMatrix& weight, const TensorDesc& c, int64_t begin, int64_t end,
                    float alpha, bool accumulate) {
  const CodeRows x{values, c.shape[0], weight.layout.columns};
  if (weight.layout.bits == 4)
    multiplyGroups<4>(x, weight, c, begin, end, alpha, accumulate);
  else
    multiplyGroups<8>(x, weight, c, begin, end, alpha, accumulate);
}

/// Multiplies weights of any layout.
void MultiplyUnpacked(const float* values, const CodedMatrix& weight, const TensorDesc& c, int64_t begin, int64_t end,
                      float alpha, bool accumulate) {
  const auto unpack = [&](int64_t output, int64_t column, int64_t count, float* to) {
    unpackCodedRow(weight, output, column, count, to);
  };
  multiplyUnpacked(values, weight.layout.columns, c, begin, end, alpha, accumulate, unpack);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MultiplyGroups);
HWY_EXPORT(MultiplyUnpacked);

void multiplyFewRows(const TensorDesc& a, const CodedMatrix& weight, const TensorDesc& c, float alpha,
                     bool accumulate) {
  const CodeLayout& layout = weight.layout;
  const int64_t rows = c.shape[0], outputs = c.shape[1], depth = layout.columns, half = depth / 2;
  // Groups of whole bytes are multiplied while they are read.
  const bool inBytes = !present(weight.groups) && (layout.bits == 8 || layout.groupSize % 2 == 0);
  const bool halves = inBytes && layout.bits == 4;
  const int64_t low = layout.highFirst ? 1 : 0;
  Scratch scratch;
  auto* const values = scratch.take<float>(rows * depth);
  auto* const row = scratch.take<float>(depth);
  for (int64_t i = 0; i < rows; ++i) {
    const auto* const from = static_cast<const std::byte*>(a.data) + i * a.strides[0] * traitsOf(a.dtype).blockBytes;
    float* const to = values + i * depth;
    convertRow(a.dtype, from, DType::f32, halves ? row : to, depth);
    for (int64_t n = 0; halves && n < half; ++n) to[n] = row[2 * n + low], to[half + n] = row[2 * n + 1 - low];
  }
  parallelRuns(outputs, depth, [&](int64_t begin, int64_t end) {
    if (inBytes)
      HWY_DYNAMIC_DISPATCH(MultiplyGroups)(values, weight, c, begin, end, alpha, accumulate);
    else
      HWY_DYNAMIC_DISPATCH(MultiplyUnpacked)(values, weight, c, begin, end, alpha, accumulate);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
