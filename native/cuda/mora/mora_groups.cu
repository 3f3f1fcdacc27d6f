// Sums over groups of columns, their transpose, and merging: the sharing operators of MoRA (mora/geometry.h). T rows, k
// or d columns (`width`), R groups (`side`). Columns are counted in 32 bits, rows and addresses in 64.
#include <algorithm>

#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/mora/mora_dispatch.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// Grouping of tile: column c belongs to group c mod side; up to `extent` the columns start again.
struct Tiles {
  int width, side, extent;

  explicit Tiles(const Grouping& grouping)
      : width(static_cast<int>(grouping.width)),
        side(static_cast<int>(grouping.side)),
        extent(static_cast<int>(grouping.extent())) {}

  /// The sum of the groups of `z` that column c belongs to through padding; they are in the last tile.
  template <typename T>
  __device__ __forceinline__ float wrapped(const T* z, int c) const {
    float sum = 0;
    for (int v = c + width; v < extent; v += width) sum += toFloat(z[v - (extent - side)]);
    return sum;
  }
};

/// Grouping of runs: the first `longer` groups have shorter + 1 neighbouring columns, the rest `shorter`.
struct Runs {
  int width, side, shorter, longer;

  explicit Runs(const Grouping& grouping)
      : width(static_cast<int>(grouping.width)),
        side(static_cast<int>(grouping.side)),
        shorter(static_cast<int>(grouping.width / grouping.side)),
        longer(static_cast<int>(grouping.width % grouping.side)) {}

  int longest() const { return std::max(1, shorter + (longer > 0 ? 1 : 0)); }
  __device__ __forceinline__ int length(int group) const { return shorter + (group < longer ? 1 : 0); }
  __device__ __forceinline__ int start(int group) const { return group * shorter + min(group, longer); }
  __device__ __forceinline__ int groupOf(int c) const {
    const int split = longer * (shorter + 1);
    return c < split ? c / (shorter + 1) : longer + (c - split) / shorter;
  }
};

/// values[i] = the sum of z over the groups of column c + i, for the columns before width.
template <int N, typename T>
__device__ __forceinline__ void spreadVector(const Tiles& tiles, const T* z, int c, float (&values)[N]) {
  int group = c % tiles.side;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    values[i] = c + i < tiles.width ? toFloat(z[group]) + tiles.wrapped(z, c + i) : 0.0f;
    if (++group == tiles.side) group = 0;
  }
}

template <int N, typename T>
__device__ __forceinline__ void spreadVector(const Runs& runs, const T* z, int c, float (&values)[N]) {
  int group = runs.groupOf(c), end = runs.start(group) + runs.length(group);
  float value = toFloat(z[group]);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (c + i == end && end < runs.width) {
      ++group;
      end += runs.length(group);
      value = toFloat(z[group]);
    }
    values[i] = value;
  }
}

/// to[i] (+)= values[i] for the first `count` columns of a vector.
template <typename T, int N>
__device__ __forceinline__ void write(const float (&values)[N], T* to, int count, bool accumulate) {
  if (count < N) {
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (i < count) to[i] = fromFloat<T>(accumulate ? toFloat(to[i]) + values[i] : values[i]);
    return;
  }
  float result[N] = {};
  if (accumulate) load(to, result);
#pragma unroll
  for (int i = 0; i < N; ++i) result[i] += values[i];
  store(result, to);
}

/// Compresses by tiles: target [T, R] (+)= sums over source [T, k] of the columns c = g mod R, and again of its first
/// columns for the groups that padding continues. A thread sums N neighbouring groups of a row, tile by tile. Moves T k
/// + T R elements; the padding comes from the cache.
template <typename T, int N>
__global__ void sumTiles(Rows<const T> source, Rows<T> target, int64_t rows, Tiles tiles, bool accumulate) {
  forPieces(rows, tiles.side / N, [&](int64_t row, int64_t piece) {
    const T* const x = source.at(row);
    const int group = static_cast<int>(piece) * N;
    float sums[N] = {};
    if (accumulate) load(target.at(row) + group, sums);
    int c = group;
#pragma unroll 4
    for (; c + N <= tiles.width; c += tiles.side) {
      float values[N];
      load(x + c, values);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] += values[i];
    }
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (c + i < tiles.extent) sums[i] += toFloat(x[c + i < tiles.width ? c + i : (c + i) % tiles.width]);
    store(sums, target.at(row) + group);
  });
}

/// Decompresses by tiles; also the transpose of compressing: target [T, width] (+)= source [T, R] at group c mod R; the
/// first columns also get the groups of their padding. A thread reads N groups once and writes them to every tile.
/// Moves T R + T width elements (2 T width to accumulate).
template <typename T, int N>
__global__ void spreadTiles(Rows<const T> source, Rows<T> target, int64_t rows, Tiles tiles, bool accumulate) {
  forPieces(rows, tiles.side / N, [&](int64_t row, int64_t piece) {
    const T* const z = source.at(row);
    T* const y = target.at(row);
    const int group = static_cast<int>(piece) * N;
    float values[N], first[N];
    load(z + group, values);
#pragma unroll
    for (int i = 0; i < N; ++i) first[i] = values[i] + tiles.wrapped(z, group + i);
    if (group < tiles.width) write(first, y + group, tiles.width - group, accumulate);
#pragma unroll 4
    for (int c = group + tiles.side; c < tiles.width; c += tiles.side)
      write(values, y + c, tiles.width - c, accumulate);
  });
}

constexpr int kStaged = 4096;  // columns in shared memory
constexpr int kLongRun = 128;  // one warp sums a longer run
constexpr int kRunThreads = 256;

/// An index in shared memory, skewed so that threads whose runs have a power of two columns use different banks.
__host__ __device__ constexpr int skewed(int i) { return i + i / 32; }

/// How sumRuns divides its work: a block stages `groups` neighbouring runs of `rows` rows.
struct RunTiling {
  int groups, rows;

  RunTiling(const Runs& runs, int width) {
    const int most = (kStaged - 2 * width) / runs.longest();
    const int chunks = static_cast<int>(ceilDivide(runs.side, most));
    groups = static_cast<int>(ceilDivide(runs.side, chunks));
    rows = kStaged / (groups * runs.longest() + 2 * width);
  }
};

/// Compresses by runs of at most kLongRun columns: target [T, R] (+)= sums of neighbours of source [T, k]. A block
/// copies the runs of some groups and rows to shared memory with wide, coalesced loads; then each thread sums whole
/// runs. Moves T k + T R elements.
template <typename T, int N>
__global__ void __launch_bounds__(kRunThreads)
    sumRuns(Rows<const T> source, Rows<T> target, int64_t rows, Runs runs, RunTiling tiling, bool accumulate) {
  MORA_SHARED(float, staged, [skewed(kStaged)]);
  const int firstGroup = static_cast<int>(blockIdx.y) * tiling.groups;
  const int groups = min(tiling.groups, runs.side - firstGroup);
  const int start = runs.start(firstGroup) / N * N, end = runs.start(firstGroup + groups);
  const int64_t firstRow = static_cast<int64_t>(blockIdx.x) * tiling.rows;
  const int rowsHere = static_cast<int>(min(static_cast<int64_t>(tiling.rows), rows - firstRow));
  const int vectors = (end - start + N - 1) / N, span = vectors * N;

  for (int item = static_cast<int>(threadIdx.x); item < rowsHere * vectors; item += kRunThreads) {
    const int row = item / vectors, offset = item % vectors * N;
    const T* const from = source.at(firstRow + row) + start + offset;
    float values[N] = {};
    if (start + offset + N <= runs.width) {
      load(from, values);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (start + offset + i < runs.width) values[i] = toFloat(from[i]);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) staged[skewed(row * span + offset + i)] = values[i];
  }
  __syncthreads();
  for (int item = static_cast<int>(threadIdx.x); item < rowsHere * groups; item += kRunThreads) {
    const int row = item / groups, group = firstGroup + item % groups;
    const int from = row * span + runs.start(group) - start;
    T* const to = target.at(firstRow + row) + group;
    float sum = accumulate ? toFloat(*to) : 0.0f;
    for (int c = from; c < from + runs.length(group); ++c) sum += staged[skewed(c)];
    *to = fromFloat<T>(sum);
  }
}

/// Compresses by longer runs: a warp sums each, with neighbouring columns in neighbouring lanes. Moves T k + T R
/// elements.
template <typename T>
__global__ void __launch_bounds__(kRunThreads)
    sumLongRuns(Rows<const T> source, Rows<T> target, Runs runs, bool accumulate) {
  const int group = static_cast<int>(blockIdx.y * (kRunThreads / kWarp) + threadIdx.x / kWarp);
  if (group >= runs.side) return;
  const T* const from = source.at(blockIdx.x) + runs.start(group);
  float sum = 0;
#pragma unroll 4
  for (int c = static_cast<int>(threadIdx.x % kWarp); c < runs.length(group); c += static_cast<int>(kWarp))
    sum += toFloat(from[c]);
  sum = warpSum(sum);
  T* const to = target.at(blockIdx.x) + group;
  if (threadIdx.x % kWarp == 0) *to = fromFloat<T>(accumulate ? toFloat(*to) + sum : sum);
}

/// Decompresses by runs; also the transpose of compressing: target [T, width] (+)= source [T, R] at the run of each
/// column. A thread writes N neighbouring columns. Moves T R + T width elements (2 T width to accumulate).
template <typename T, int N>
__global__ void spreadRuns(Rows<const T> source, Rows<T> target, int64_t rows, Runs runs, bool accumulate) {
  forPieces(rows, (runs.width + N - 1) / N, [&](int64_t row, int64_t piece) {
    const int c = static_cast<int>(piece) * N;
    float values[N];
    spreadVector(runs, source.at(row), c, values);
    write(values, target.at(row) + c, runs.width - c, accumulate);
  });
}

/// The rows of a weight in an output group.
struct OwnedRows {
  int64_t first, end, step;
};
__device__ __forceinline__ OwnedRows ownedRows(const Tiles& tiles, int group) {
  return {group, tiles.width, tiles.side};
}
__device__ __forceinline__ OwnedRows ownedRows(const Runs& runs, int group) {
  return {runs.start(group), runs.start(group + 1), 1};
}

/// weight [d, k] += scale matrix[g(row), g(column)], matrix f32 [R, R] read through the cache. A thread gathers the N
/// values of its columns once and adds them to every row of an output group. Moves 2 d k elements; counts non-finite
/// results.
template <typename T, int N, typename Input, typename Output>
__global__ void mergeGroupRows(Input input, Output output, const float* matrix, float scale, Rows<T> weight,
                               int32_t* nonFinite) {
  forPieces(output.side, input.width / N, [&](int64_t group, int64_t piece) {
    const int c = static_cast<int>(piece) * N;
    float delta[N];
    spreadVector(input, matrix + group * input.side, c, delta);
    const OwnedRows owned = ownedRows(output, static_cast<int>(group));
    int32_t found = 0;
    for (int64_t row = owned.first; row < owned.end; row += owned.step)
      found += mergeVector(delta, scale, weight.at(row) + c);
    addToCount(nonFinite, found);
  });
}

/// Calls body(Tiles or Runs).
template <typename Body>
void withKind(const Grouping& grouping, Body&& body) {
  if (grouping.kind == GroupKind::tile) return body(Tiles(grouping));
  body(Runs(grouping));
}

/// Whether tiles of both tensors can be read `width` columns at a time.
auto tilesFit(const Tiles& tiles, const TensorDesc& source, const TensorDesc& target) {
  return [&](int width) { return tiles.side % width == 0 && rowsAligned(source, width) && rowsAligned(target, width); };
}

template <typename T>
void sum(Context& context, const Tiles& tiles, const TensorDesc& source, const TensorDesc& target, bool accumulate) {
  withWidest(tilesFit(tiles, source, target), [&](auto width) {
    launchPieces(sumTiles<T, width>, source.shape[0], tiles.side / width, context.stream, rowsOf<const T>(source),
                 rowsOf<T>(target), source.shape[0], tiles, accumulate);
  });
}

template <typename T>
void sum(Context& context, const Runs& runs, const TensorDesc& source, const TensorDesc& target, bool accumulate) {
  const int64_t rows = source.shape[0];
  if (runs.longest() > kLongRun) {
    const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(ceilDivide(runs.side, kRunThreads / kWarp)));
    return launch(sumLongRuns<T>, grid, dim3(kRunThreads), 0, context.stream, rowsOf<const T>(source),
                  rowsOf<T>(target), runs, accumulate);
  }
  withWidest([&](int width) { return rowsAligned(source, width); },
             [&](auto width) {
               const RunTiling tiling(runs, width);
               const dim3 grid(static_cast<unsigned>(ceilDivide(rows, tiling.rows)),
                               static_cast<unsigned>(ceilDivide(runs.side, tiling.groups)));
               launch(sumRuns<T, width>, grid, dim3(kRunThreads), 0, context.stream, rowsOf<const T>(source),
                      rowsOf<T>(target), rows, runs, tiling, accumulate);
             });
}

template <typename T>
void spread(Context& context, const Tiles& tiles, const TensorDesc& source, const TensorDesc& target, bool accumulate) {
  withWidest(tilesFit(tiles, source, target), [&](auto width) {
    launchPieces(spreadTiles<T, width>, source.shape[0], tiles.side / width, context.stream, rowsOf<const T>(source),
                 rowsOf<T>(target), source.shape[0], tiles, accumulate);
  });
}

template <typename T>
void spread(Context& context, const Runs& runs, const TensorDesc& source, const TensorDesc& target, bool accumulate) {
  withWidest([&](int width) { return rowsAligned(target, width); },
             [&](auto width) {
               launchPieces(spreadRuns<T, width>, source.shape[0], ceilDivide(runs.width, width), context.stream,
                            rowsOf<const T>(source), rowsOf<T>(target), source.shape[0], runs, accumulate);
             });
}

}  // namespace

void groupSum(Context& context, Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate) {
  if (source.shape[0] == 0) return;
  expectCost(bytesOf(source) + (accumulate ? bytesOf(target) : 0), bytesOf(target));
  withFloatType(source.dtype, "groupSum", [&](auto type) {
    withKind(grouping, [&](const auto& groups) { sum<decltype(type)>(context, groups, source, target, accumulate); });
  });
  checkLaunch("groupSum");
}

void groupSpread(Context& context, Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate) {
  if (target.shape[0] == 0 || grouping.width == 0) return;
  expectCost(bytesOf(source) + (accumulate ? bytesOf(target) : 0), bytesOf(target));
  withFloatType(source.dtype, "groupSpread", [&](auto type) {
    withKind(grouping,
             [&](const auto& groups) { spread<decltype(type)>(context, groups, source, target, accumulate); });
  });
  checkLaunch("groupSpread");
}

void mergeGroups(Context& context, Grouping input, Grouping output, TensorDesc matrix, float scale, TensorDesc weight,
                 TensorDesc nonFinite) {
  if (elementsOf(weight) == 0) return;
  expectCost(bytesOf(weight) + bytesOf(matrix), bytesOf(weight));
  withFloatType(weight.dtype, "mergeGroups", [&](auto type) {
    using T = decltype(type);
    withWidth<8>(rowsFit(weight, 8), [&](auto width) {
      withKind(input, [&](const auto& in) {
        withKind(output, [&](const auto& out) {
          launchPieces(mergeGroupRows<T, width, std::decay_t<decltype(in)>, std::decay_t<decltype(out)>>, out.side,
                       in.width / width, context.stream, in, out, static_cast<const float*>(matrix.data), scale,
                       rowsOf<T>(weight), static_cast<int32_t*>(nonFinite.data));
        });
      });
    });
  });
  checkLaunch("mergeGroups");
}

}  // namespace mora::cuda
