// Depthwise causal convolution over packed documents, and its gradient. Kernels [C, K] are transposed to [K, C], so
// that every product is one of neighbouring channels.
#include <algorithm>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/document_rows.h"
#include "cpu/layers/row_chunks.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/convolution.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// y[row] = bias + the products of taps [tap][C] with the row `length - 1 - tap` before it, oldest first.
void ConvolveRows(const TensorDesc& x, const float* taps, int64_t length, const float* bias, const int32_t* first,
                  const TensorDesc& y, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "causalConvolution", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t columns = columnsOf(x);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t before = std::min(length - 1, row - first[row]);
      forVectors(columns, [&](int64_t i, auto part) HWY_ATTR {
        FloatVector sum = bias ? load(bias + i, part) : broadcast(0.0f);
        for (int64_t j = before; j >= 0; --j)
          sum = hn::MulAdd(load(rowOf<const T>(x, row - j) + i, part),
                           load(taps + (length - 1 - j) * columns + i, part), sum);
        store(sum, rowOf<T>(y, row) + i, part);
      });
    }
  });
}

/// dX[row] (+)= the products of taps with the rows of dY that depend on it; `end` is the end of each row's document.
void ConvolveGradientRows(const TensorDesc& dY, const float* taps, int64_t length, const int32_t* documentEnd,
                          const TensorDesc& dX, bool accumulate, int64_t begin, int64_t end) {
  withFloatType(dY.dtype, "causalConvolutionBackward", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t columns = columnsOf(dY);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t after = std::min(length, documentEnd[row] - row);
      forVectors(columns, [&](int64_t i, auto part) HWY_ATTR {
        FloatVector sum = accumulate ? load(rowOf<T>(dX, row) + i, part) : broadcast(0.0f);
        for (int64_t j = 0; j < after; ++j)
          sum = hn::MulAdd(load(rowOf<const T>(dY, row + j) + i, part),
                           load(taps + (length - 1 - j) * columns + i, part), sum);
        store(sum, rowOf<T>(dX, row) + i, part);
      });
    }
  });
}

/// sums [tap][C] += dY[row] x[row - (length - 1 - tap)] over rows [begin, end).
void AddKernelGradient(const TensorDesc& dY, const TensorDesc& x, int64_t length, const int32_t* first, float* sums,
                       int64_t begin, int64_t end) {
  withFloatType(dY.dtype, "causalConvolutionBackward", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t columns = columnsOf(dY);
    for (int64_t row = begin; row < end; ++row) {
      const auto* const gradient = rowOf<const T>(dY, row);
      for (int64_t j = std::min(length - 1, row - first[row]); j >= 0; --j) {
        const auto* const values = rowOf<const T>(x, row - j);
        float* const tap = sums + (length - 1 - j) * columns;
        forVectors(columns, [&](int64_t i, auto part) HWY_ATTR {
          store(hn::MulAdd(load(gradient + i, part), load(values + i, part), load(tap + i, part)), tap + i, part);
        });
      }
    }
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(ConvolveRows);
HWY_EXPORT(ConvolveGradientRows);
HWY_EXPORT(AddKernelGradient);

namespace {

/// Where each row's document begins and ends.
struct DocumentRows {
  int32_t *first, *end;

  DocumentRows(Scratch& scratch, const char* operation, const TensorDesc& offsets, int64_t rows)
      : first(scratch.take<int32_t>(rows)), end(scratch.take<int32_t>(rows)) {
    const int32_t* const starts = risingOffsets(operation, offsets, rows);
    for (int64_t i = 1; i < offsets.shape[0]; ++i) {
      std::fill(first + starts[i - 1], first + starts[i], starts[i - 1]);
      std::fill(end + starts[i - 1], end + starts[i], starts[i]);
    }
  }
};

/// A kernel [C, K] as [K, C].
const float* tapsOf(Scratch& scratch, const TensorDesc& kernel) {
  const int64_t columns = kernel.shape[0], length = kernel.shape[1];
  const auto* const values = static_cast<const float*>(kernel.data);
  auto* const taps = scratch.take<float>(columns * length);
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t k = 0; k < length; ++k) taps[k * columns + c] = values[c * length + k];
  return taps;
}

}  // namespace

void causalConvolution(TensorDesc x, TensorDesc kernel, TensorDesc bias, TensorDesc offsets, TensorDesc y) {
  Scratch scratch;
  const DocumentRows documents(scratch, "causalConvolution", offsets, x.shape[0]);
  const float* const taps = tapsOf(scratch, kernel);
  const int64_t length = kernel.shape[1];
  parallelRanges(x.shape[0], columnsOf(x) * length, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ConvolveRows)
    (x, taps, length, static_cast<const float*>(bias.data), documents.first, y, begin, end);
  });
}

void causalConvolutionBackward(TensorDesc dY, TensorDesc x, TensorDesc kernel, TensorDesc offsets, TensorDesc dX,
                               bool accumulate, TensorDesc dKernel, TensorDesc dBias) {
  Scratch scratch;
  const DocumentRows documents(scratch, "causalConvolutionBackward", offsets, x.shape[0]);
  const float* const taps = tapsOf(scratch, kernel);
  const int64_t columns = columnsOf(x), length = kernel.shape[1];
  parallelRanges(x.shape[0], columns * length, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ConvolveGradientRows)(dY, taps, length, documents.end, dX, accumulate, begin, end);
  });
  if (present(dBias)) columnSums(dY, dBias, true);
  if (!present(dKernel)) return;
  const std::array targets{scratch.take<float>(columns * length)};
  sumRowChunks(x.shape[0], columns * length, targets, false, [&](int64_t begin, int64_t end, const auto& partials) {
    HWY_DYNAMIC_DISPATCH(AddKernelGradient)(dY, x, length, documents.first, partials[0], begin, end);
  });
  add({targets[0], DType::f32, 2, {columns, length}, {1, columns}}, dKernel, 1);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
