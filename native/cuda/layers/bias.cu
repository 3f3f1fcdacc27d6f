// Adding a bias to rows, and its gradient: sums over rows.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/layers/column_sums.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// y [T, d] += bias [d]. Reads and writes y once; the bias stays in the caches.
template <typename T, typename B, int N>
__global__ void addBiasKernel(const B* bias, Rows<T> y, int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N], added[N];
    load(y.at(row) + piece * N, values);
    load(bias + piece * N, added);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] += added[i];
    store(values, y.at(row) + piece * N);
  });
}

/// The elements of x [T, d] themselves.
template <typename T, int N>
struct Elements {
  static constexpr uint64_t kBytes = sizeof(T);
  Rows<const T> x;

  __device__ void operator()(int64_t row, int64_t column, float (&values)[N]) const {
    load(x.at(row) + column, values);
  }
};

}  // namespace

void addBias(Context& context, TensorDesc bias, TensorDesc y) {
  const int64_t rows = y.shape[0], columns = columnsOf(y);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(y) + bytesOf(bias), bytesOf(y));
  withFloatType(y.dtype, "addBias", [&](auto type) {
    withFloatType(bias.dtype, "addBias", [&](auto biasType) {
      using T = decltype(type);
      using B = decltype(biasType);
      constexpr int kWide = kVectorWidth<T, B>;
      withWidth<kWide>(allRowsFit(kWide, y, bias), [&](auto width) {
        launchPieces(addBiasKernel<T, B, width>, rows, columns / width, context.stream,
                     static_cast<const B*>(bias.data), rowsOf<T>(y), rows, columns);
      });
    });
  });
  checkLaunch("addBias");
}

void columnSums(Context& context, TensorDesc x, TensorDesc sums, bool accumulate) {
  withRowVectors(x.dtype, "columnSums", {x}, [&](auto type, auto width) {
    using T = decltype(type);
    sumColumns<width>(context, Elements<T, width>{rowsOf<const T>(x)}, x.shape[0], columnsOf(x),
                      static_cast<float*>(sums.data), accumulate);
  });
  checkLaunch("columnSums");
}

}  // namespace mora::cuda
