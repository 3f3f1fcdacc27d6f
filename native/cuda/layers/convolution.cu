// Depthwise causal convolution over packed documents, and its gradient. A thread has some channels of one row;
// neighbouring rows come from the caches.
#include "cuda/attention/attention_documents.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/layers/column_sums.h"
#include "cuda/offsets.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// Rows of packed documents; wrong offsets never lead outside [0, rows).
struct PackedRows {
  const int32_t* offsets;
  int32_t count;  // documents
  int64_t rows;

  __device__ __forceinline__ int32_t documentOf(int64_t row) const {
    return lastNotAfter(count, static_cast<int32_t>(row), [&](int32_t document) { return offsets[document]; });
  }
  /// Number of rows of its document before a row.
  __device__ __forceinline__ int64_t before(int64_t row) const {
    return min(row, max(int64_t{0}, row - offsets[documentOf(row)]));
  }
  /// Number of rows of its document from a row on, itself included.
  __device__ __forceinline__ int64_t from(int64_t row) const {
    const int32_t document = documentOf(row);
    return document < count ? max(int64_t{1}, min(static_cast<int64_t>(offsets[document + 1]), rows) - row) : 1;
  }
};

/// A kernel [C, K].
struct Taps {
  const float* values;
  int64_t length;

  /// factors[i] = the kernel's value for the row `back` rows before, channel column + i.
  template <int N>
  __device__ __forceinline__ void at(int64_t column, int64_t back, float (&factors)[N]) const {
#pragma unroll
    for (int i = 0; i < N; ++i) factors[i] = values[(column + i) * length + length - 1 - back];
  }
};

/// y [T, C] = bias + the products of the kernel with the rows up to each, oldest first. Reads x once, writes y once; 2
/// T C K flops.
template <typename T, int N>
__global__ void convolve(Rows<const T> x, Taps taps, const float* bias, PackedRows documents, Rows<T> y,
                         int64_t columns) {
  forPieces(documents.rows, columns / N, [&](int64_t row, int64_t piece) {
    const int64_t column = piece * N;
    float sums[N] = {}, values[N], factors[N];
    if (bias) load(bias + column, sums);
    for (int64_t back = min(taps.length - 1, documents.before(row)); back >= 0; --back) {
      load(x.at(row - back) + column, values);
      taps.at(column, back, factors);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] = fmaf(values[i], factors[i], sums[i]);
    }
    store(sums, y.at(row) + column);
  });
}

/// dX [T, C] (+)= the products of the kernel with the rows of dY that depend on each row. Moves 2 T C elements, 3 T C
/// when it accumulates; 2 T C K flops.
template <typename T, int N>
__global__ void convolveGradient(Rows<const T> dY, Taps taps, PackedRows documents, Rows<T> dX, bool accumulate,
                                 int64_t columns) {
  forPieces(documents.rows, columns / N, [&](int64_t row, int64_t piece) {
    const int64_t column = piece * N, after = min(taps.length, documents.from(row));
    float sums[N] = {}, values[N], factors[N];
    if (accumulate) load(dX.at(row) + column, sums);
    for (int64_t back = 0; back < after; ++back) {
      load(dY.at(row + back) + column, values);
      taps.at(column, back, factors);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] = fmaf(values[i], factors[i], sums[i]);
    }
    store(sums, dX.at(row) + column);
  });
}

/// A row's part of the kernel's gradient as [K, C]: dY times the row that a tap multiplies.
template <typename T, int N>
struct KernelGradient {
  static constexpr uint64_t kBytes = 2 * sizeof(T);
  Rows<const T> dY, x;
  PackedRows documents;
  int64_t columns, length;

  __device__ void operator()(int64_t row, int64_t at, float (&values)[N]) const {
    const int64_t tap = at / columns, column = at - tap * columns, back = length - 1 - tap;
    float gradients[N];
    if (back > documents.before(row)) {
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] = 0;
      return;
    }
    load(dY.at(row) + column, gradients);
    load(x.at(row - back) + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] *= gradients[i];
  }
};

/// The places of the sums [K, C] in the gradient of a kernel [C, K].
struct KernelSums {
  float* data;
  int64_t channels, channelStride, tapStride;

  __device__ __forceinline__ float* at(int64_t i) const {
    return data + i % channels * channelStride + i / channels * tapStride;
  }
};

PackedRows packedRows(const TensorDesc& offsets, int64_t rows) {
  return {static_cast<const int32_t*>(offsets.data), static_cast<int32_t>(offsets.shape[0]) - 1, rows};
}

uint64_t flopsOf(const TensorDesc& x, const TensorDesc& kernel) {
  return 2 * static_cast<uint64_t>(elementsOf(x)) * static_cast<uint64_t>(kernel.shape[1]);
}

}  // namespace

void causalConvolution(Context& context, TensorDesc x, TensorDesc kernel, TensorDesc bias, TensorDesc offsets,
                       TensorDesc y) {
  const int64_t rows = x.shape[0], columns = columnsOf(x);
  requireOffsets(context, Operation::causalConvolution, offsets, rows);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x) + bytesOf(kernel) + bytesOf(bias) + bytesOf(offsets), bytesOf(y), flopsOf(x, kernel));
  withRowVectors(x.dtype, "causalConvolution", {x, bias, y}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(convolve<T, width>, rows, columns / width, context.stream, rowsOf<const T>(x),
                 Taps{static_cast<const float*>(kernel.data), kernel.shape[1]}, static_cast<const float*>(bias.data),
                 packedRows(offsets, rows), rowsOf<T>(y), columns);
  });
  checkLaunch("causalConvolution");
}

void causalConvolutionBackward(Context& context, TensorDesc dY, TensorDesc x, TensorDesc kernel, TensorDesc offsets,
                               TensorDesc dX, bool accumulate, TensorDesc dKernel, TensorDesc dBias) {
  const int64_t rows = x.shape[0], columns = columnsOf(x), length = kernel.shape[1];
  requireOffsets(context, Operation::causalConvolutionBackward, offsets, rows);
  if (rows == 0 || columns == 0) return;
  const PackedRows documents = packedRows(offsets, rows);
  expectCost(bytesOf(dY) + bytesOf(kernel) + bytesOf(offsets) + (accumulate ? bytesOf(dX) : 0), bytesOf(dX),
             flopsOf(x, kernel));
  withRowVectors(x.dtype, "causalConvolutionBackward", {dY, x, dX}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(convolveGradient<T, width>, rows, columns / width, context.stream, rowsOf<const T>(dY),
                 Taps{static_cast<const float*>(kernel.data), length}, documents, rowsOf<T>(dX), accumulate, columns);
    if (!present(dKernel)) return;
    sumColumns<width>(
        context, KernelGradient<T, width>{rowsOf<const T>(dY), rowsOf<const T>(x), documents, columns, length}, rows,
        columns * length,
        KernelSums{static_cast<float*>(dKernel.data), columns, dKernel.strides[0], dKernel.strides[1]}, true);
  });
  if (present(dBias)) columnSums(context, dY, dBias, true);
  checkLaunch("causalConvolutionBackward");
}

}  // namespace mora::cuda
