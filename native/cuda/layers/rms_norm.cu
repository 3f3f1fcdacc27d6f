// RMSNorm (arXiv 1910.07467) over rows or heads, with an optional residual added first, and its gradient. A block
// processes one row at a time; its second pass over the row reads from the caches.
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/layers/column_sums.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr unsigned kThreads = 256;

/// Rows of [rows, columns], or of [tokens, heads, columns] head by head.
template <typename T>
struct HeadRows {
  T* data;
  int64_t tokenStride, headStride;
  uint32_t heads;

  __device__ __forceinline__ T* at(int64_t row) const {
    if (heads == 1) return data + row * tokenStride;
    const auto index = static_cast<uint32_t>(row);
    return data + index / heads * tokenStride + index % heads * headStride;
  }
};

template <typename T>
HeadRows<T> headRowsOf(const TensorDesc& tensor) {
  const bool many = tensor.rank == 3;
  return {static_cast<T*>(tensor.data), tensor.strides[0], many ? tensor.strides[1] : 0,
          many ? static_cast<uint32_t>(tensor.shape[1]) : 1};
}

/// The factors of columns: values[i] + offset.
struct NormWeight {
  const float* values;
  float offset;

  template <int N>
  __device__ __forceinline__ void at(int64_t column, float (&to)[N]) const {
    load(values + column, to);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] += offset;
  }
};

/// x [T, D] += residual (if any), then y = x rstd weight with rstd = 1 / sqrt(mean(x^2) + epsilon). y and rstd may be
/// absent. Moves 2 T D elements, 4 T D with a residual. One block per row.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads) rmsNormKernel(HeadRows<T> x, HeadRows<const T> residual, NormWeight weight,
                                                          float epsilon, HeadRows<T> y, float* rstd, int64_t columns) {
  MORA_SHARED(float, partial, [kWarp]);
  const int64_t row = blockIdx.x, first = static_cast<int64_t>(threadIdx.x) * N,
                step = static_cast<int64_t>(blockDim.x) * N;
  float values[N], others[N], squares = 0;
  for (int64_t column = first; column < columns; column += step) {
    load(x.at(row) + column, values);
    if (residual.data) {
      load(residual.at(row) + column, others);
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] += others[i];
      // The statistic is computed from the stored, rounded sum, since the backward pass reads the same x.
      store(values, x.at(row) + column);
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] = toFloat(fromFloat<T>(values[i]));
    }
#pragma unroll
    for (int i = 0; i < N; ++i) squares = fmaf(values[i], values[i], squares);
  }
  const float factor = 1.0f / sqrtf(blockSum(squares, partial) / static_cast<float>(columns) + epsilon);
  if (rstd && threadIdx.x == 0) rstd[row] = factor;
  if (!y.data) return;
  for (int64_t column = first; column < columns; column += step) {
    load(x.at(row) + column, values);
    weight.at(column, others);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] *= factor * others[i];
    store(values, y.at(row) + column);
  }
}

/// y [T, D] = x rstd weight from a stored rstd [T]. Moves 2 T D elements.
template <typename T, int N>
__global__ void rmsNormApplyKernel(HeadRows<const T> x, NormWeight weight, const float* rstd, HeadRows<T> y,
                                   int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N], weights[N];
    load(x.at(row) + piece * N, values);
    weight.at(piece * N, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] *= rstd[row] * weights[i];
    store(values, y.at(row) + piece * N);
  });
}

/// With x^ = x rstd: dX [T, D] (+)= rstd (w dY - x^ mean(w dY x^)). Rows of dX may be those of dY. Moves 3 T D
/// elements, 4 T D when it accumulates. One block per row.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    rmsNormBackwardKernel(HeadRows<const T> dY, HeadRows<const T> x, NormWeight weight, const float* rstd,
                          HeadRows<T> dX, bool accumulate, int64_t columns) {
  MORA_SHARED(float, partial, [kWarp]);
  const int64_t row = blockIdx.x, first = static_cast<int64_t>(threadIdx.x) * N,
                step = static_cast<int64_t>(blockDim.x) * N;
  const float factor = rstd[row];
  float gradients[N], values[N], weights[N], sum = 0;
  for (int64_t column = first; column < columns; column += step) {
    load(dY.at(row) + column, gradients);
    load(x.at(row) + column, values);
    weight.at(column, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) sum = fmaf(gradients[i] * weights[i], values[i] * factor, sum);
  }
  const float mean = blockSum(sum, partial) / static_cast<float>(columns);
  for (int64_t column = first; column < columns; column += step) {
    load(dY.at(row) + column, gradients);
    load(x.at(row) + column, values);
    weight.at(column, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) gradients[i] = factor * fmaf(-values[i] * factor, mean, gradients[i] * weights[i]);
    if (accumulate) {
      load(dX.at(row) + column, values);
#pragma unroll
      for (int i = 0; i < N; ++i) gradients[i] += values[i];
    }
    store(gradients, dX.at(row) + column);
  }
}

/// A row's part of dWeight: dY x rstd.
template <typename T, int N>
struct WeightGradient {
  static constexpr uint64_t kBytes = 2 * sizeof(T);
  HeadRows<const T> dY, x;
  const float* rstd;

  __device__ void operator()(int64_t row, int64_t column, float (&values)[N]) const {
    float gradients[N];
    load(dY.at(row) + column, gradients);
    load(x.at(row) + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] *= rstd[row] * gradients[i];
  }
};

}  // namespace

void rmsNorm(Context& context, TensorDesc x, TensorDesc residual, TensorDesc weight, float weightOffset, float epsilon,
             TensorDesc y, TensorDesc rstd) {
  const int64_t rows = rowsIn(x), columns = columnsOf(x);
  const NormWeight factors{static_cast<const float*>(weight.data), weightOffset};
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x) + bytesOf(residual) + bytesOf(weight), bytesOf(residual) + bytesOf(y) + bytesOf(rstd));
  withRowVectors(x.dtype, "rmsNorm", {x, residual, weight, y}, [&](auto type, auto width) {
    using T = decltype(type);
    launchRows(rmsNormKernel<T, width>, rows, threadsFor(columns / width, kThreads), context.stream, headRowsOf<T>(x),
               headRowsOf<const T>(residual), factors, epsilon, headRowsOf<T>(y), static_cast<float*>(rstd.data),
               columns);
  });
  checkLaunch("rmsNorm");
}

void rmsNormApply(Context& context, TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd,
                  TensorDesc y) {
  const int64_t rows = rowsIn(x), columns = columnsOf(x);
  const NormWeight factors{static_cast<const float*>(weight.data), weightOffset};
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x) + bytesOf(weight) + bytesOf(rstd), bytesOf(y));
  withRowVectors(x.dtype, "rmsNormApply", {x, weight, y}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(rmsNormApplyKernel<T, width>, rows, columns / width, context.stream, headRowsOf<const T>(x), factors,
                 static_cast<const float*>(rstd.data), headRowsOf<T>(y), rows, columns);
  });
  checkLaunch("rmsNormApply");
}

void rmsNormBackward(Context& context, TensorDesc dY, TensorDesc x, TensorDesc weight, float weightOffset,
                     TensorDesc rstd, TensorDesc dX, bool accumulate, TensorDesc dWeight) {
  const int64_t rows = rowsIn(x), columns = columnsOf(x);
  const NormWeight factors{static_cast<const float*>(weight.data), weightOffset};
  if (rows == 0 || columns == 0) return;
  withRowVectors(x.dtype, "rmsNormBackward", {dY, x, weight, dX}, [&](auto type, auto width) {
    using T = decltype(type);
    const auto* const rstds = static_cast<const float*>(rstd.data);
    // dWeight comes first, because dX may overwrite dY. Norms are seldom trained, so reading dY and x a second time
    // costs less than more complex kernels.
    if (present(dWeight))
      sumColumns<width>(context, WeightGradient<T, width>{headRowsOf<const T>(dY), headRowsOf<const T>(x), rstds}, rows,
                        columns, static_cast<float*>(dWeight.data), true);
    expectCost(bytesOf(dY) + bytesOf(x) + bytesOf(weight) + bytesOf(rstd) + (accumulate ? bytesOf(dX) : 0),
               bytesOf(dX));
    launchRows(rmsNormBackwardKernel<T, width>, rows, threadsFor(columns / width, kThreads), context.stream,
               headRowsOf<const T>(dY), headRowsOf<const T>(x), factors, rstds, headRowsOf<T>(dX), accumulate, columns);
  });
  checkLaunch("rmsNormBackward");
}

}  // namespace mora::cuda
