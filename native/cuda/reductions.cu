// Sums, counts and maxima over whole tensors.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"
#include "cuda/wide_sums.h"

namespace mora::cuda {
namespace {

struct Value {
  __device__ double operator()(float x) const { return x; }
};

struct NotFinite {
  __device__ double operator()(float x) const { return fabsf(x) < INFINITY ? 0.0 : 1.0; }
};

/// partials[chunk] = the sum of term over a chunk of x [count]. One block per chunk; reads x once.
template <typename Term, typename T, int N>
__global__ void __launch_bounds__(kChunkThreads) sumChunks(const T* x, int64_t count, double* partials) {
  MORA_SHARED(double, sums, [kChunkThreads]);
  const int64_t begin = blockIdx.x * kChunk;
  const double sum = chunkSum<N>(x + begin, min(kChunk, count - begin), Term{}, sums);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

struct StoreSum {
  float* total;
  bool accumulate;

  __device__ void operator()(double sum) const {
    *total = static_cast<float>((accumulate ? static_cast<double>(*total) : 0.0) + sum);
  }
};

/// Counts below 2^53 are exact in f64; the count saturates at int32's maximum.
struct StoreCount {
  int32_t* count;
  bool accumulate;

  __device__ void operator()(double sum) const {
    *count = static_cast<int32_t>(fmin((accumulate ? static_cast<double>(*count) : 0.0) + sum, 2147483647.0));
  }
};

/// partials[chunk] = the largest |a - b| of a chunk of a, b [count]; fmaxf ignores NaN. One block per chunk; reads both
/// once.
template <typename T, int N>
__global__ void __launch_bounds__(kChunkThreads)
    largestOfChunks(const T* a, const T* b, int64_t count, float* partials) {
  MORA_SHARED(float, warps, [kWarp]);
  const int64_t begin = blockIdx.x * kChunk;
  float largest = 0;
  forVectors<N>(min(kChunk, count - begin), [&](int64_t i, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float x[kWidth], y[kWidth];
    load(a + begin + i, x);
    load(b + begin + i, y);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) largest = fmaxf(largest, fabsf(x[j] - y[j]));
  });
  largest = blockMax(largest, warps);
  if (threadIdx.x == 0) partials[blockIdx.x] = largest;
}

/// largest [1] = the maximum of partials [count] and, if accumulating, of itself. One block.
__global__ void __launch_bounds__(kChunkThreads)
    largestOfPartials(const float* partials, int64_t count, float* largest, bool accumulate) {
  MORA_SHARED(float, warps, [kWarp]);
  float value = accumulate ? *largest : 0.0f;
  for (int64_t i = threadIdx.x; i < count; i += kChunkThreads) value = fmaxf(value, partials[i]);
  value = blockMax(value, warps);
  if (threadIdx.x == 0) *largest = value;
}

/// finish(the sum of Term over all elements of a dense tensor)
template <typename Term, typename Finish>
void sumTerms(Context& context, const char* name, const TensorDesc& x, Finish finish) {
  const int64_t count = elementsOf(x), chunks = ceilDivide(count, kChunk);
  double* const partials = partialSums(context, chunks);
  if (chunks > 0) {
    expectCost(bytesOf(x), static_cast<uint64_t>(chunks) * sizeof(double));
    withFloatType(x.dtype, name, [&](auto type) {
      using T = decltype(type);
      constexpr int kWide = kVectorWidth<T>;
      withWidth<kWide>(reinterpret_cast<uintptr_t>(x.data) % kVectorBytes == 0, [&](auto width) {
        launch(sumChunks<Term, T, width>, dim3(static_cast<unsigned>(chunks)), dim3(kChunkThreads), 0, context.stream,
               static_cast<const T*>(x.data), count, partials);
      });
    });
  }
  finishSums(context, partials, chunks, finish);
  checkLaunch(name);
}

}  // namespace

void sum(Context& context, TensorDesc x, TensorDesc total, bool accumulate) {
  sumTerms<Value>(context, "sum", x, StoreSum{static_cast<float*>(total.data), accumulate});
}

void countNonFinite(Context& context, TensorDesc x, TensorDesc count, bool accumulate) {
  sumTerms<NotFinite>(context, "countNonFinite", x, StoreCount{static_cast<int32_t*>(count.data), accumulate});
}

void largestDifference(Context& context, TensorDesc a, TensorDesc b, TensorDesc largest, bool accumulate) {
  const int64_t count = elementsOf(a), chunks = ceilDivide(count, kChunk);
  auto* const partials =
      static_cast<float*>(context.scratch(Slot::partials, static_cast<size_t>(chunks + 1) * sizeof(float)));
  if (chunks > 0) {
    expectCost(bytesOf(a) + bytesOf(b), static_cast<uint64_t>(chunks) * sizeof(float));
    withFloatType(a.dtype, "largestDifference", [&](auto type) {
      using T = decltype(type);
      const auto aligned = [](const TensorDesc& x) { return reinterpret_cast<uintptr_t>(x.data) % kVectorBytes == 0; };
      withWidth<kVectorWidth<T>>(aligned(a) && aligned(b), [&](auto width) {
        launch(largestOfChunks<T, width>, dim3(static_cast<unsigned>(chunks)), dim3(kChunkThreads), 0, context.stream,
               static_cast<const T*>(a.data), static_cast<const T*>(b.data), count, partials);
      });
    });
  }
  expectCost(static_cast<uint64_t>(chunks) * sizeof(float), sizeof(float));
  launch(largestOfPartials, dim3(1), dim3(kChunkThreads), 0, context.stream, partials, chunks,
         static_cast<float*>(largest.data), accumulate);
  checkLaunch("largestDifference");
}

}  // namespace mora::cuda
