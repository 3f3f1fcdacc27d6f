// Rows and columns selected by index: embedding tables, and rows and columns of activations.
#include <algorithm>
#include <cstring>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"
#include "cpu/stored/dequantise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rows.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// dTable[ids[t]] += dY[t] for t in order, columns [begin, end) only.
void AddRowsAt(const TensorDesc& dY, const int32_t* ids, const TensorDesc& dTable, int64_t begin, int64_t end) {
  withFloatType(dY.dtype, "embeddingBackward", [&](auto type) HWY_ATTR {
    for (int64_t t = 0; t < dY.shape[0]; ++t)
      addTo(rowOf<float>(dTable, ids[t]) + begin, rowOf<const decltype(type)>(dY, t) + begin, end - begin);
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(AddRowsAt);

namespace {

/// Start of a row of a table of any type; strides of a block format count values.
std::byte* tableRow(const TensorDesc& table, int64_t row) {
  const DTypeTraits traits = traitsOf(table.dtype);
  return static_cast<std::byte*>(table.data) + row * (table.strides[0] / traits.blockSize) * traits.blockBytes;
}

}  // namespace

void embedding(TensorDesc table, TensorDesc ids, TensorDesc y) {
  requireIndices("embedding", ids, table.shape[0]);
  const int64_t columns = columnsOf(y);
  const auto* const rows = static_cast<const int32_t*>(ids.data);
  parallelRanges(y.shape[0], columns, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      dequantiseRow(table.dtype, tableRow(table, rows[t]), columns, y.dtype, tableRow(y, t));
  });
}

void embeddingBackward(TensorDesc dY, TensorDesc ids, TensorDesc dTable) {
  requireIndices("embeddingBackward", ids, dTable.shape[0]);
  const auto* const rows = static_cast<const int32_t*>(ids.data);
  const auto addColumns = [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AddRowsAt)(dY, rows, dTable, begin, end);
  };
  // Each thread has its own columns, so that no two add to the same element, and every sum runs over t in order.
  parallelRanges(columnsOf(dY), dY.shape[0], addColumns, 16);
}

void gatherRows(TensorDesc x, TensorDesc rows, TensorDesc y) {
  requireIndices("gatherRows", rows, x.shape[0]);
  const auto* const at = static_cast<const int32_t*>(rows.data);
  parallelRanges(y.shape[0], columnsOf(y), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      convertRow(x.dtype, tableRow(x, at[i]), y.dtype, tableRow(y, i), columnsOf(y));
  });
}

void scatterRows(TensorDesc x, TensorDesc rows, TensorDesc y) {
  requireIndices("scatterRows", rows, y.shape[0]);
  const auto* const at = static_cast<const int32_t*>(rows.data);
  parallelRanges(x.shape[0], columnsOf(x), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      convertRow(x.dtype, tableRow(x, i), y.dtype, tableRow(y, at[i]), columnsOf(y));
  });
}

void gatherColumns(TensorDesc x, TensorDesc columns, TensorDesc y, bool accumulate) {
  requireIndices("gatherColumns", columns, columnsOf(x));
  const auto* const at = static_cast<const int32_t*>(columns.data);
  const int64_t count = columnsOf(y);
  withFloatType(x.dtype, "gatherColumns", [&](auto type) {
    using T = decltype(type);
    parallelRanges(y.shape[0], count, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T* const from = rowOf<const T>(x, t);
        T* const to = rowOf<T>(y, t);
        if (!accumulate)
          for (int64_t c = 0; c < count; ++c) to[c] = from[at[c]];
        else
          for (int64_t c = 0; c < count; ++c)
            to[c] =
                hwy::ConvertScalarTo<T>(hwy::ConvertScalarTo<float>(to[c]) + hwy::ConvertScalarTo<float>(from[at[c]]));
      }
    });
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
