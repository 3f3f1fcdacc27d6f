// AdamW (arXiv 1711.05101) over a list of tensors, the norm of all gradients and their clipping factor. One launch
// handles all tensors: a table in device memory says where each starts, and every block looks up its chunk.
#include <cmath>
#include <limits>
#include <vector>

#include "core/math/adamw.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"
#include "cuda/wide_sums.h"

namespace mora::cuda {
namespace {

struct TableEntry {
  AdamWTensor tensor;
  int64_t firstChunk;  // in chunks of kChunk elements, counted over the whole list
};

struct TensorTable {
  const TableEntry* entries;  // device memory
  int64_t count, chunks, elements;
};

TensorTable uploadTable(Context& context, const std::vector<AdamWTensor>& tensors) {
  std::vector<TableEntry> entries;
  int64_t chunks = 0, elements = 0;
  for (const AdamWTensor& tensor : tensors) {
    if (tensor.count == 0) continue;
    entries.push_back({tensor, chunks});
    chunks += ceilDivide(tensor.count, kChunk);
    elements += tensor.count;
  }
  if (entries.empty()) return {nullptr, 0, 0, 0};
  const void* const table = context.upload(entries.data(), entries.size() * sizeof(TableEntry));
  return {static_cast<const TableEntry*>(table), static_cast<int64_t>(entries.size()), chunks, elements};
}

/// The tensor of a chunk: the last one that starts at the chunk or before.
__device__ __forceinline__ const TableEntry& entryOf(const TensorTable& table, int64_t chunk) {
  int64_t low = 0, high = table.count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (table.entries[middle].firstChunk <= chunk ? low : high) = middle;
  }
  return table.entries[low];
}

__device__ __forceinline__ bool aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kVectorBytes == 0;
}

constexpr int kWide = kVectorWidth<float>;

struct Square {
  __device__ double operator()(float x) const { return static_cast<double>(x) * x; }
};

/// partials[chunk] = the sum of squares of a chunk's gradients. One block per chunk; reads the gradients once.
__global__ void __launch_bounds__(kChunkThreads) sumSquares(TensorTable table, double* partials) {
  MORA_SHARED(double, sums, [kChunkThreads]);
  const TableEntry& entry = entryOf(table, blockIdx.x);
  const int64_t begin = (blockIdx.x - entry.firstChunk) * kChunk, count = min(kChunk, entry.tensor.count - begin);
  const float* const gradient = entry.tensor.gradient + begin;
  const double sum = aligned(gradient) ? chunkSum<kWide>(gradient, count, Square{}, sums)
                                       : chunkSum<1>(gradient, count, Square{}, sums);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

struct StoreNorm {
  float* norm;

  __device__ void operator()(double sum) const { *norm = static_cast<float>(sqrt(sum)); }
};

/// scale [1] from norm [1], see core/operations.def. One thread.
__global__ void clipScaleKernel(const float* norm, double factor, double maxNorm, float* scale) {
  const double length = *norm;
  double result = maxNorm == 0 ? factor : factor * fmin(1.0, maxNorm / (factor * length + 1e-6));
  if (!(fabs(length) < INFINITY)) result = NAN;
  *scale = static_cast<float>(result);
}

template <int N>
__device__ __forceinline__ void update(const AdamWTensor& tensor, int64_t i, const AdamWFactors& factors, float scale) {
  float g[N], m[N], v[N], p[N];
  load(tensor.gradient + i, g);
  load(tensor.firstMoment + i, m);
  load(tensor.secondMoment + i, v);
  load(tensor.parameter + i, p);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    g[j] *= scale;
    m[j] = fmaf(g[j], factors.add1, m[j] * factors.keep1);
    v[j] = fmaf(g[j] * g[j], factors.add2, v[j] * factors.keep2);
    const float root = fmaf(sqrtf(v[j]), factors.rootFactor, factors.epsilon);
    p[j] = fmaf(-factors.stepSize, m[j] / root, p[j] * factors.decay);
  }
  store(m, tensor.firstMoment + i);
  store(v, tensor.secondMoment + i);
  store(p, tensor.parameter + i);
}

/// One AdamW step of every tensor, gradients multiplied by scale [1]; does nothing if scale is not finite. One block
/// per chunk; reads parameter, gradient and both moments, writes all but the gradient: 28 bytes an element.
__global__ void __launch_bounds__(kChunkThreads)
    adamwKernel(TensorTable table, AdamWFactors factors, const float* scale) {
  const float gradientScale = *scale;
  if (!(fabsf(gradientScale) < INFINITY)) return;
  const TableEntry& entry = entryOf(table, blockIdx.x);
  const AdamWTensor tensor = entry.tensor;
  const int64_t begin = (blockIdx.x - entry.firstChunk) * kChunk, count = min(kChunk, tensor.count - begin);
  const bool wide = aligned(tensor.parameter) && aligned(tensor.gradient) && aligned(tensor.firstMoment) &&
                    aligned(tensor.secondMoment);
  const auto updateAt = [&](int64_t i, auto width) {
    update<decltype(width)::value>(tensor, begin + i, factors, gradientScale);
  };
  if (wide)
    forVectors<kWide>(count, updateAt);
  else
    forVectors<1>(count, updateAt);
}

}  // namespace

void globalNorm(Context& context, TensorList gradients, TensorDesc norm) {
  const TensorTable table = uploadTable(context, trainedTensors({}, gradients, {}, {}));
  double* const partials = partialSums(context, table.chunks);
  if (table.chunks > 0) {
    expectCost(static_cast<uint64_t>(table.elements) * sizeof(float),
               static_cast<uint64_t>(table.chunks) * sizeof(double));
    launch(sumSquares, dim3(static_cast<unsigned>(table.chunks)), dim3(kChunkThreads), 0, context.stream, table,
           partials);
  }
  finishSums(context, partials, table.chunks, StoreNorm{static_cast<float*>(norm.data)});
  checkLaunch("globalNorm");
}

void clipScale(Context& context, TensorDesc norm, float gradientScale, float maxNorm, TensorDesc scale) {
  expectCost(bytesOf(norm), bytesOf(scale));
  launch(clipScaleKernel, dim3(1), dim3(1), 0, context.stream, static_cast<const float*>(norm.data), gradientScale,
         maxNorm, static_cast<float*>(scale.data));
  checkLaunch("clipScale");
}

void adamw(Context& context, TensorList parameters, TensorList gradients, TensorList firstMoments,
           TensorList secondMoments, AdamWStep step, TensorDesc scale) {
  const TensorTable table = uploadTable(context, trainedTensors(parameters, gradients, firstMoments, secondMoments));
  if (table.chunks == 0) return;
  const auto elements = static_cast<uint64_t>(table.elements);
  expectCost(elements * 4 * sizeof(float), elements * 3 * sizeof(float));
  launch(adamwKernel, dim3(static_cast<unsigned>(table.chunks)), dim3(kChunkThreads), 0, context.stream, table,
         AdamWFactors(step), static_cast<const float*>(scale.data));
  checkLaunch("adamw");
}

}  // namespace mora::cuda
