// Converts small codes with scales to floats, with the same bits as on the CPU.
#include "cuda/stored/codes.h"

#include "cuda/dispatch.h"
#include "cuda/index_report.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr int kValues = 8;  // per thread

/// A CodedMatrix for kernels, from a row and a column on.
struct Codes {
  const uint8_t* codes;
  int64_t codeStride;
  const float* table;
  const void* scales;
  DType scaleType;
  const uint8_t* zeros;
  const int32_t* groups;
  const float *scaleTable, *scaleScales;
  CodeLayout layout;
  int64_t column;  // the first
};

Codes codesOf(const CodedMatrix& matrix, int64_t row, int64_t column) {
  Codes codes{static_cast<const uint8_t*>(matrix.codes.data) + row * matrix.codes.strides[0],
              matrix.codes.strides[0],
              static_cast<const float*>(matrix.table.data),
              matrix.scales.data,
              matrix.scales.dtype,
              static_cast<const uint8_t*>(matrix.zeros.data),
              static_cast<const int32_t*>(matrix.groups.data),
              static_cast<const float*>(matrix.scaleTable.data),
              static_cast<const float*>(matrix.scaleScales.data),
              matrix.layout,
              column};
  codes.layout.firstRow += row;
  return codes;
}

__device__ __forceinline__ float scaleOf(const Codes& source, int64_t i) {
  switch (source.scaleType) {
    case DType::f32:
      return static_cast<const float*>(source.scales)[i];
    case DType::bf16:
      return toFloat(static_cast<const __nv_bfloat16*>(source.scales)[i]);
    case DType::f16:
      return toFloat(static_cast<const __half*>(source.scales)[i]);
    default: {
      const float outer = source.scaleScales[i / source.layout.scalesPerScale];
      // Not fused, so that it is rounded as on the CPU.
      const float product = __fmul_rn(outer, source.scaleTable[static_cast<const uint8_t*>(source.scales)[i]]);
      return source.layout.scaleOffset == 0 ? product : __fadd_rn(product, source.layout.scaleOffset);
    }
  }
}

/// The index of a group's scale for a column; negative if the file's list of groups is wrong.
__device__ __forceinline__ int64_t scaleIndex(const Codes& source, int64_t row, int64_t column, DeviceReport* report) {
  const CodeLayout& layout = source.layout;
  if (layout.runsOn) return ((layout.firstRow + row) * layout.columns + column) / layout.groupSize;
  const int64_t groups = (layout.columns + layout.groupSize - 1) / layout.groupSize;
  const int64_t group = source.groups ? source.groups[column] : column / layout.groupSize;
  if (source.groups && !indexFits(report, Operation::unpackCodes, column, group, groups)) return -1;
  return (layout.firstRow + row) / layout.rowsPerScale * groups + group;
}

/// target [n, columns] = values of the source's rows, or of those selected by `rows`. A thread unpacks eight
/// neighbouring values. Reads the codes and writes the values; scales come through the cache.
template <typename T, int N>
__global__ void unpackCodesKernel(Codes source, const int32_t* rows, int64_t limit, Rows<T> target, int64_t count,
                                  int64_t columns, DeviceReport* report) {
  forPieces(count, (columns + kValues - 1) / kValues, [&](int64_t i, int64_t piece) {
    const int64_t row = rows ? rows[i] : i;
    if (rows && !indexFits(report, Operation::unpackCodes, i, row, limit)) return;
    const int64_t first = piece * kValues;
    const int many = static_cast<int>(columns - first < kValues ? columns - first : kValues);
    const uint8_t* const codes = source.codes + row * source.codeStride;
    float values[kValues] = {}, scale = 0, zero = source.layout.zero;
    int64_t known = -1;
#pragma unroll
    for (int k = 0; k < kValues; ++k) {
      if (k >= many) break;
      const int64_t column = source.column + first + k;
      int code;
      if (source.layout.bits == 8) {
        code = codes[column];
      } else {
        const bool high = (column % 2 != 0) != (source.layout.highFirst != 0);
        code = codes[column / 2] >> (high ? 4 : 0) & 15;
      }
      const int64_t at = scaleIndex(source, row, column, report);
      if (at < 0) return;
      if (at != known) {
        scale = scaleOf(source, at);
        if (source.zeros) zero = static_cast<float>(source.zeros[at]);
        known = at;
      }
      values[k] = scale * ((source.table ? source.table[code] : static_cast<float>(code)) - zero);
    }
    T* const to = target.at(i) + first;
    if constexpr (N == kValues) {
      store(values, to);
    } else {
      for (int k = 0; k < many; ++k) to[k] = fromFloat<T>(values[k]);
    }
  });
}

void unpack(Context& context, const Codes& source, const TensorDesc& rows, int64_t limit, const TensorDesc& target) {
  const int64_t count = target.shape[0], columns = target.shape[1];
  if (count == 0 || columns == 0) return;
  expectCost(static_cast<uint64_t>(count * columns * source.layout.bits / 8) + bytesOf(rows), bytesOf(target));
  withFloatType(target.dtype, "unpackCodes", [&](auto to) {
    withWidth<kValues>(rowsFit(target, kValues), [&](auto width) {
      using T = decltype(to);
      launchPieces(unpackCodesKernel<T, width>, count, ceilDivide(columns, kValues), context.stream, source,
                   static_cast<const int32_t*>(rows.data), limit, rowsOf<T>(target), count, columns, context.report);
    });
  });
  checkLaunch("unpackCodes");
}

}  // namespace

void unpackPanel(Context& context, const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target) {
  unpack(context, codesOf(matrix, row, column), {}, matrix.codes.shape[0], target);
}

void unpackCodes(Context& context, CodedMatrix source, TensorDesc rows, TensorDesc target) {
  unpack(context, codesOf(source, 0, 0), rows, source.codes.shape[0], target);
}

}  // namespace mora::cuda
