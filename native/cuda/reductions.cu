// Sums and counts over whole tensors.
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

/// Counts below 2^53 are exact in f64; one that int32 cannot hold becomes its largest number.
struct StoreCount {
  int32_t* count;
  bool accumulate;

  __device__ void operator()(double sum) const {
    *count = static_cast<int32_t>(fmin((accumulate ? static_cast<double>(*count) : 0.0) + sum, 2147483647.0));
  }
};

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

}  // namespace mora::cuda
