// Softmax of rows or its logarithm, and the gradient through it. One block per row, which it reads two or three times,
// from the caches after the first time.
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr unsigned kThreads = 512;

/// Calls body(column) for this thread's pieces of a row.
template <int N, typename Body>
__device__ __forceinline__ void forRow(int64_t columns, Body&& body) {
  const int64_t step = static_cast<int64_t>(blockDim.x) * N;
  for (int64_t column = static_cast<int64_t>(threadIdx.x) * N; column < columns; column += step) body(column);
}

/// Moves N V elements in and N V out.
template <typename T, int N, bool kLogarithm>
__global__ void __launch_bounds__(kThreads) softmaxRowsKernel(Rows<const T> x, Rows<T> y, int64_t columns) {
  MORA_SHARED(float, maxima, [kWarp]);
  MORA_SHARED(double, sums, [kThreads]);
  const T* const from = x.at(blockIdx.x);
  T* const to = y.at(blockIdx.x);
  float values[N], maximum = -INFINITY;
  forRow<N>(columns, [&](int64_t column) {
    load(from + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) maximum = fmaxf(maximum, values[i]);
  });
  maximum = blockMax(maximum, maxima);
  double sum = 0;
  forRow<N>(columns, [&](int64_t column) {
    load(from + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += expf(values[i] - maximum);
  });
  const double total = blockSumWide(sum, sums);
  const float factor = static_cast<float>(1.0 / total), logarithm = static_cast<float>(log(total));
  forRow<N>(columns, [&](int64_t column) {
    load(from + column, values);
#pragma unroll
    for (int i = 0; i < N; ++i)
      values[i] = kLogarithm ? values[i] - maximum - logarithm : expf(values[i] - maximum) * factor;
    store(values, to + column);
  });
}

/// dX (+)= y (dY - sum of y dY), or dY - e^y (sum of dY). Moves 2 N V elements in and N V out.
template <typename T, int N, bool kLogarithm>
__global__ void __launch_bounds__(kThreads)
    softmaxRowsBackwardKernel(Rows<const T> dY, Rows<const T> y, Rows<T> dX, int64_t columns, bool accumulate) {
  MORA_SHARED(double, sums, [kThreads]);
  const T* const gradients = dY.at(blockIdx.x);
  const T* const results = y.at(blockIdx.x);
  T* const to = dX.at(blockIdx.x);
  float gradient[N], result[N];
  double partial = 0;
  forRow<N>(columns, [&](int64_t column) {
    load(gradients + column, gradient);
    if constexpr (!kLogarithm) load(results + column, result);
#pragma unroll
    for (int i = 0; i < N; ++i) partial += kLogarithm ? gradient[i] : gradient[i] * result[i];
  });
  const float sum = static_cast<float>(blockSumWide(partial, sums));
  forRow<N>(columns, [&](int64_t column) {
    float before[N] = {};
    load(gradients + column, gradient);
    load(results + column, result);
    if (accumulate) load(to + column, before);
#pragma unroll
    for (int i = 0; i < N; ++i)
      before[i] += kLogarithm ? fmaf(-expf(result[i]), sum, gradient[i]) : result[i] * (gradient[i] - sum);
    store(before, to + column);
  });
}

/// Calls body(type, width, logarithm) with a kernel's parameters as constants.
template <typename Body, typename... Tensors>
void withKernel(bool logarithm, Body&& body, const TensorDesc& first, const Tensors&... others) {
  withRowVectors(first.dtype, "softmaxRows", {first, others...}, [&](auto type, auto width) {
    if (logarithm)
      body(type, width, std::true_type());
    else
      body(type, width, std::false_type());
  });
}

}  // namespace

void softmaxRows(Context& context, TensorDesc x, bool logarithm, TensorDesc y) {
  const int64_t rows = x.shape[0], columns = columnsOf(x);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x), bytesOf(y));
  const auto start = [&](auto type, auto width, auto ofLogarithm) {
    using T = decltype(type);
    launchRows(softmaxRowsKernel<T, width, ofLogarithm>, rows, threadsFor(columns / width, kThreads), context.stream,
               rowsOf<const T>(x), rowsOf<T>(y), columns);
  };
  withKernel(logarithm, start, x, y);
  checkLaunch("softmaxRows");
}

void softmaxRowsBackward(Context& context, TensorDesc dY, TensorDesc y, bool logarithm, TensorDesc dX,
                         bool accumulate) {
  const int64_t rows = y.shape[0], columns = columnsOf(y);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(dY) + bytesOf(y) + (accumulate ? bytesOf(dX) : 0), bytesOf(dX));
  const auto start = [&](auto type, auto width, auto ofLogarithm) {
    using T = decltype(type);
    launchRows(softmaxRowsBackwardKernel<T, width, ofLogarithm>, rows, threadsFor(columns / width, kThreads),
               context.stream, rowsOf<const T>(dY), rowsOf<const T>(y), rowsOf<T>(dX), columns, accumulate);
  };
  withKernel(logarithm, start, dY, y, dX);
  checkLaunch("softmaxRowsBackward");
}

}  // namespace mora::cuda
