// Elementwise functions of one or two operands, and those gradients that are no product or quotient.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

template <Elementwise f>
__device__ __forceinline__ float evaluate(float a, float b) {
  if constexpr (f == Elementwise::exp) return expf(a);
  if constexpr (f == Elementwise::log) return logf(a);
  if constexpr (f == Elementwise::sqrt) return sqrtf(a);
  if constexpr (f == Elementwise::tanh) return tanhf(a);
  if constexpr (f == Elementwise::sigmoid) return 1.0f / (1.0f + expf(-a));
  if constexpr (f == Elementwise::softplus) return fmaxf(a, 0.0f) + log1pf(expf(-fabsf(a)));
  if constexpr (f == Elementwise::multiply) return a * b;
  if constexpr (f == Elementwise::divide) return a / b;
  if constexpr (f == Elementwise::sqrtGradient) return 0.5f * a / b;
  if constexpr (f == Elementwise::tanhGradient) return a * fmaf(-b, b, 1.0f);
  if constexpr (f == Elementwise::sigmoidGradient) return a * b * (1.0f - b);
  if constexpr (f == Elementwise::softplusGradient) return a / (1.0f + expf(-b));
}

/// y (+)= f(a, b) of dense elements. Reads each operand once and writes y once; y may be the memory of an operand.
template <typename T, int N, Elementwise f>
__global__ void elementwiseKernel(const T* a, const T* b, T* y, int64_t count, bool accumulate) {
  forPieces(1, count / N, [&](int64_t, int64_t piece) {
    float left[N], right[N], before[N] = {};
    load(a + piece * N, left);
    if constexpr (takesTwo(f)) load(b + piece * N, right);
    if (accumulate) load(y + piece * N, before);
#pragma unroll
    for (int i = 0; i < N; ++i) left[i] = before[i] + evaluate<f>(left[i], takesTwo(f) ? right[i] : 0.0f);
    store(left, y + piece * N);
  });
}

}  // namespace

void elementwise(Context& context, Elementwise function, TensorDesc a, TensorDesc b, TensorDesc y, bool accumulate) {
  const int64_t count = elementsOf(y);
  if (count == 0) return;
  expectCost(bytesOf(a) + bytesOf(b) + (accumulate ? bytesOf(y) : 0), bytesOf(y));
  withFloatType(y.dtype, "elementwise", [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kVectorWidth<T>;
    const auto aligned = [](const TensorDesc& x) { return reinterpret_cast<uintptr_t>(x.data) % kVectorBytes == 0; };
    withWidth<kWide>(count % kWide == 0 && aligned(a) && aligned(b) && aligned(y), [&](auto width) {
      withElementwise(function, [&](auto f) {
        launchPieces(elementwiseKernel<T, width, f>, 1, count / width, context.stream, static_cast<const T*>(a.data),
                     static_cast<const T*>(b.data), static_cast<T*>(y.data), count, accumulate);
      });
    });
  });
  checkLaunch("elementwise");
}

}  // namespace mora::cuda
