// Elementwise products.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// target = (accumulate ? target : 0) + scale a b. Reads each once and writes the target once.
template <typename T, int N>
__global__ void multiplyKernel(Rows<const T> a, Rows<const float> b, Rows<float> target, int64_t rows, int64_t columns,
                               float scale, bool accumulate) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N], factors[N], before[N] = {};
    load(a.at(row) + piece * N, values);
    load(b.at(row) + piece * N, factors);
    if (accumulate) load(target.at(row) + piece * N, before);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = fmaf(scale * values[i], factors[i], before[i]);
    store(values, target.at(row) + piece * N);
  });
}

/// target = (accumulate ? target : 0) + scale a b for a single element b.
template <typename T, typename U, int N>
__global__ void scaleKernel(Rows<const T> a, const T* b, Rows<U> target, int64_t rows, int64_t columns, float scale,
                            bool accumulate) {
  const float factor = toFloat(*b);
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N], before[N] = {};
    load(a.at(row) + piece * N, values);
    if (accumulate) load(target.at(row) + piece * N, before);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = fmaf(scale * values[i], factor, before[i]);
    store(values, target.at(row) + piece * N);
  });
}

}  // namespace

void multiplyByElement(Context& context, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate) {
  const int64_t rows = a.shape[0], columns = columnsOf(a);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(a) + (accumulate ? bytesOf(target) : 0), bytesOf(target));
  withFloatType(a.dtype, "matmul", [&](auto from) {
    withFloatType(target.dtype, "matmul", [&](auto to) {
      using T = decltype(from);
      using U = decltype(to);
      constexpr int kWide = kVectorWidth<T, U>;
      withWidth<kWide>(allRowsFit(kWide, a, target), [&](auto width) {
        launchPieces(scaleKernel<T, U, width>, rows, columns / width, context.stream, rowsOf<const T>(a),
                     static_cast<const T*>(b.data), rowsOf<U>(target), rows, columns, scale, accumulate);
      });
    });
  });
  checkLaunch("matmul");
}

void multiply(Context& context, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate) {
  const int64_t rows = a.shape[0], columns = columnsOf(a);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(a) + bytesOf(b) + (accumulate ? bytesOf(target) : 0), bytesOf(target));
  withRowVectors(a.dtype, "multiply", {a, b, target}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(multiplyKernel<T, width>, rows, columns / width, context.stream, rowsOf<const T>(a),
                 rowsOf<const float>(b), rowsOf<float>(target), rows, columns, scale, accumulate);
  });
  checkLaunch("multiply");
}

}  // namespace mora::cuda
