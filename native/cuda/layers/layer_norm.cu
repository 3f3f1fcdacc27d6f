// LayerNorm (arXiv 1607.06450) over rows and its gradient. A block processes one row at a time; later passes over the
// row read from the caches.
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/layers/column_sums.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr unsigned kThreads = 256;

/// Weight and bias of the columns; bias may be null.
struct Affine {
  const float *weight, *bias;

  /// values = values weight + bias
  template <int N>
  __device__ __forceinline__ void apply(int64_t column, float (&values)[N]) const {
    float weights[N], shifts[N] = {};
    load(weight + column, weights);
    if (bias) load(bias + column, shifts);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = fmaf(values[i], weights[i], shifts[i]);
  }
};

/// mean and rstd [T] of the rows.
struct Statistics {
  float *mean, *rstd;

  /// values = (values - mean) rstd
  template <int N>
  __device__ __forceinline__ void normalise(int64_t row, float (&values)[N]) const {
    const float shift = mean[row], factor = rstd[row];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = (values[i] - shift) * factor;
  }
};

/// y [T, D] = (x - mean) rstd weight + bias with the rows' mean and rstd = 1 / sqrt(variance + epsilon), which are
/// stored. The variance is computed from deviations from the mean, which avoids cancellation. Moves 2 T D elements. One
/// block per row.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    layerNormKernel(Rows<const T> x, Affine affine, float epsilon, Rows<T> y, Statistics statistics, int64_t columns) {
  MORA_SHARED(float, partial, [kWarp]);
  const int64_t row = blockIdx.x, first = static_cast<int64_t>(threadIdx.x) * N,
                step = static_cast<int64_t>(blockDim.x) * N;
  float values[N], sum = 0, squares = 0;
  for (int64_t column = first; column < columns; column += step) {
    load(x.at(row) + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += values[i];
  }
  const float mean = blockSum(sum, partial) / static_cast<float>(columns);
  for (int64_t column = first; column < columns; column += step) {
    load(x.at(row) + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) squares = fmaf(values[i] - mean, values[i] - mean, squares);
  }
  const float factor = 1.0f / sqrtf(blockSum(squares, partial) / static_cast<float>(columns) + epsilon);
  if (threadIdx.x == 0) statistics.mean[row] = mean, statistics.rstd[row] = factor;
  for (int64_t column = first; column < columns; column += step) {
    load(x.at(row) + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = (values[i] - mean) * factor;
    affine.apply(column, values);
    store(values, y.at(row) + column);
  }
}

/// y from stored statistics. Moves 2 T D elements.
template <typename T, int N>
__global__ void layerNormApplyKernel(Rows<const T> x, Affine affine, Statistics statistics, Rows<T> y, int64_t rows,
                                     int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N];
    load(x.at(row) + piece * N, values);
    statistics.normalise(row, values);
    affine.apply(piece * N, values);
    store(values, y.at(row) + piece * N);
  });
}

/// With x^ = (x - mean) rstd and g = w dY: dX [T, D] (+)= rstd (g - mean(g) - x^ mean(g x^)). Rows of dX may be those
/// of dY. Moves 3 T D elements, 4 T D when it accumulates. One block per row.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    layerNormBackwardKernel(Rows<const T> dY, Rows<const T> x, Affine affine, Statistics statistics, Rows<T> dX,
                            bool accumulate, int64_t columns) {
  MORA_SHARED(float, partial, [kWarp]);
  const int64_t row = blockIdx.x, first = static_cast<int64_t>(threadIdx.x) * N,
                step = static_cast<int64_t>(blockDim.x) * N;
  float gradients[N], values[N], sum = 0, products = 0;
  const auto loadBoth = [&](int64_t column) {
    load(dY.at(row) + column, gradients);
    affine.apply(column, gradients);
    load(x.at(row) + column, values);
    statistics.normalise(row, values);
  };
  for (int64_t column = first; column < columns; column += step) {
    loadBoth(column);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum += gradients[i];
      products = fmaf(gradients[i], values[i], products);
    }
  }
  const float mean = blockSum(sum, partial) / static_cast<float>(columns);
  const float slope = blockSum(products, partial) / static_cast<float>(columns);
  const float factor = statistics.rstd[row];
  for (int64_t column = first; column < columns; column += step) {
    loadBoth(column);
#pragma unroll
    for (int i = 0; i < N; ++i) gradients[i] = factor * fmaf(-values[i], slope, gradients[i] - mean);
    if (accumulate) {
      load(dX.at(row) + column, values);
#pragma unroll
      for (int i = 0; i < N; ++i) gradients[i] += values[i];
    }
    store(gradients, dX.at(row) + column);
  }
}

/// A row's part of dWeight: dY x^.
template <typename T, int N>
struct WeightGradient {
  static constexpr uint64_t kBytes = 2 * sizeof(T);
  Rows<const T> dY, x;
  Statistics statistics;

  __device__ void operator()(int64_t row, int64_t column, float (&values)[N]) const {
    float gradients[N];
    load(dY.at(row) + column, gradients);
    load(x.at(row) + column, values);
    statistics.normalise(row, values);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] *= gradients[i];
  }
};

float* floats(const TensorDesc& tensor) { return static_cast<float*>(tensor.data); }

}  // namespace

void layerNorm(Context& context, TensorDesc x, TensorDesc weight, TensorDesc bias, float epsilon, TensorDesc y,
               TensorDesc mean, TensorDesc rstd) {
  const int64_t rows = x.shape[0], columns = columnsOf(x);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x) + bytesOf(weight) + bytesOf(bias), bytesOf(y) + bytesOf(mean) + bytesOf(rstd));
  withRowVectors(x.dtype, "layerNorm", {x, weight, bias, y}, [&](auto type, auto width) {
    using T = decltype(type);
    launchRows(layerNormKernel<T, width>, rows, threadsFor(columns / width, kThreads), context.stream,
               rowsOf<const T>(x), Affine{floats(weight), floats(bias)}, epsilon, rowsOf<T>(y),
               Statistics{floats(mean), floats(rstd)}, columns);
  });
  checkLaunch("layerNorm");
}

void layerNormApply(Context& context, TensorDesc x, TensorDesc weight, TensorDesc bias, TensorDesc mean,
                    TensorDesc rstd, TensorDesc y) {
  const int64_t rows = x.shape[0], columns = columnsOf(x);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x) + bytesOf(weight) + bytesOf(bias) + bytesOf(mean) + bytesOf(rstd), bytesOf(y));
  withRowVectors(x.dtype, "layerNormApply", {x, weight, bias, y}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(layerNormApplyKernel<T, width>, rows, columns / width, context.stream, rowsOf<const T>(x),
                 Affine{floats(weight), floats(bias)}, Statistics{floats(mean), floats(rstd)}, rowsOf<T>(y), rows,
                 columns);
  });
  checkLaunch("layerNormApply");
}

void layerNormBackward(Context& context, TensorDesc dY, TensorDesc x, TensorDesc weight, TensorDesc mean,
                       TensorDesc rstd, TensorDesc dX, bool accumulate, TensorDesc dWeight, TensorDesc dBias) {
  const int64_t rows = x.shape[0], columns = columnsOf(x);
  if (rows == 0 || columns == 0) return;
  // dWeight and dBias come first, because dX may overwrite dY.
  if (present(dBias)) columnSums(context, dY, dBias, true);
  withRowVectors(x.dtype, "layerNormBackward", {dY, x, weight, dX}, [&](auto type, auto width) {
    using T = decltype(type);
    const Statistics statistics{floats(mean), floats(rstd)};
    if (present(dWeight))
      sumColumns<width>(context, WeightGradient<T, width>{rowsOf<const T>(dY), rowsOf<const T>(x), statistics}, rows,
                        columns, floats(dWeight), true);
    expectCost(
        bytesOf(dY) + bytesOf(x) + bytesOf(weight) + bytesOf(mean) + bytesOf(rstd) + (accumulate ? bytesOf(dX) : 0),
        bytesOf(dX));
    launchRows(layerNormBackwardKernel<T, width>, rows, threadsFor(columns / width, kThreads), context.stream,
               rowsOf<const T>(dY), rowsOf<const T>(x), Affine{floats(weight), nullptr}, statistics, rowsOf<T>(dX),
               accumulate, columns);
  });
  checkLaunch("layerNormBackward");
}

}  // namespace mora::cuda
