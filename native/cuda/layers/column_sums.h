// Sums over rows in an order that depends only on their number: chunks of rows are summed in parallel, then the chunks'
// sums in order.
#pragma once
#include <algorithm>

#include "cuda/device_code.h"
#include "cuda/dispatch.h"
#include "cuda/runtime/context.h"
#include "cuda/vector.h"

namespace mora::cuda {

/// Adjacent rows [begin(i), end(i)) of chunk i.
struct RowChunks {
  int64_t rows, perChunk, count;

  explicit RowChunks(int64_t rows)
      : rows(rows), perChunk(std::max<int64_t>(32, ceilDivide(rows, 128))), count(ceilDivide(rows, perChunk)) {}
};

constexpr unsigned kColumnThreads = 64;

/// partials [chunks, columns] = the sums of term over the rows of each chunk; a thread has N columns of one chunk.
/// term(row, column, values) sets values[i] for columns column + i, reading Term::kBytes for each.
template <int N, typename Term>
__global__ void columnPartials(Term term, int64_t rows, int64_t perChunk, int64_t columns, float* partials) {
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (column >= columns) return;
  const int64_t begin = blockIdx.y * perChunk, end = min(rows, begin + perChunk);
  float sums[N] = {}, values[N];
  for (int64_t row = begin; row < end; ++row) {
    term(row, column, values);
#pragma unroll
    for (int i = 0; i < N; ++i) sums[i] += values[i];
  }
  for (int i = 0; i < N; ++i) partials[blockIdx.y * columns + column + i] = sums[i];
}

/// Places of the sums of columns: at(column) is where that column's goes, null if it is not needed.
struct DenseSums {
  float* sums;

  __device__ __forceinline__ float* at(int64_t column) const { return sums + column; }
};

/// sums.at(c) = (accumulate ? sums.at(c) : 0) + partials[0][c] + partials[1][c] ...
template <typename Sums>
__global__ void combinePartials(const float* partials, int64_t chunks, int64_t columns, Sums sums, bool accumulate) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float* const place = sums.at(column);
  if (!place) return;
  float sum = accumulate ? *place : 0.0f;
#pragma unroll 4
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk * columns + column];
  *place = sum;
}

/// sums [columns] (f32) = (accumulate ? sums : 0) + the sums over rows of `term`, N columns at a time.
template <int N, typename Term, typename Sums>
void sumColumns(Context& context, Term term, int64_t rows, int64_t columns, Sums sums, bool accumulate) {
  if (columns == 0 || (rows == 0 && accumulate)) return;
  const RowChunks chunks(rows);
  auto* const partials = static_cast<float*>(context.scratch(
      Slot::partials, static_cast<size_t>(std::max<int64_t>(1, chunks.count) * columns) * sizeof(float)));
  const uint64_t partialBytes = static_cast<uint64_t>(chunks.count * columns) * sizeof(float);
  const uint64_t sumBytes = static_cast<uint64_t>(columns) * sizeof(float);
  if (chunks.count > 0) {
    expectCost(static_cast<uint64_t>(rows * columns) * Term::kBytes, partialBytes);
    const dim3 grid(static_cast<unsigned>(ceilDivide(columns, N * kColumnThreads)),
                    static_cast<unsigned>(chunks.count));
    launch(columnPartials<N, Term>, grid, dim3(kColumnThreads), 0, context.stream, term, rows, chunks.perChunk, columns,
           partials);
  }
  expectCost(partialBytes + (accumulate ? sumBytes : 0), sumBytes);
  launch(combinePartials<Sums>, dim3(static_cast<unsigned>(ceilDivide(columns, kColumnThreads))), dim3(kColumnThreads),
         0, context.stream, partials, chunks.count, columns, sums, accumulate);
}

template <int N, typename Term>
void sumColumns(Context& context, Term term, int64_t rows, int64_t columns, float* sums, bool accumulate) {
  sumColumns<N>(context, term, rows, columns, DenseSums{sums}, accumulate);
}

}  // namespace mora::cuda
