// Rows and columns selected by index: embedding tables, and rows and columns of activations.
#include "cuda/dispatch.h"
#include "cuda/index_report.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

enum class Pick { gather, scatter };

/// Gather: y[i] = x[at[i]]; scatter: y[at[i]] = x[i]; `count` indices, rows of `columns` elements. Indices outside [0,
/// limit) are reported and skipped. Reads and writes each selected row once.
template <Pick pick, typename T, typename U, int N>
__global__ void pickRows(Rows<const T> x, const int32_t* at, Rows<U> y, int64_t count, int64_t columns, int64_t limit,
                         Operation operation, DeviceReport* report) {
  forPieces(count, columns / N, [&](int64_t i, int64_t piece) {
    const int64_t index = at[i];
    if (!indexFits(report, operation, i, index, limit)) return;
    const T* const from = x.at(pick == Pick::gather ? index : i);
    U* const to = y.at(pick == Pick::gather ? i : index);
    convert<N>(from + piece * N, to + piece * N);
  });
}

/// Enqueues pickRows for views of any strides between rows.
template <Pick pick, typename T, typename U>
void pickRowsOf(Context& context, Operation operation, TensorDesc x, TensorDesc at, TensorDesc y) {
  constexpr int kWide = kVectorWidth<T, U>;
  const int64_t count = at.shape[0], columns = columnsOf(y), limit = (pick == Pick::gather ? x : y).shape[0];
  if (count == 0 || columns == 0) return;
  const auto elements = static_cast<uint64_t>(count * columns);
  expectCost(bytesOf(at) + elements * sizeof(T), elements * sizeof(U));
  withWidth<kWide>(allRowsFit(kWide, x, y), [&](auto width) {
    launchPieces(pickRows<pick, T, U, width>, count, columns / width, context.stream, rowsOf<const T>(x),
                 static_cast<const int32_t*>(at.data), rowsOf<U>(y), count, columns, limit, operation, context.report);
  });
}

/// y[t][c] (+)= x[t][at[c]] for `count` columns of `rows` rows. Reads the elements of x one by one, since neighbours of
/// y come from anywhere in the row.
template <typename T, bool accumulate>
__global__ void pickColumns(Rows<const T> x, const int32_t* at, Rows<T> y, int64_t rows, int64_t count, int64_t limit,
                            DeviceReport* report) {
  forPieces(rows, count, [&](int64_t row, int64_t c) {
    const int64_t index = at[c];
    if (!indexFits(report, Operation::gatherColumns, c, index, limit)) return;
    const T value = x.at(row)[index];
    T& target = y.at(row)[c];
    target = accumulate ? fromFloat<T>(toFloat(target) + toFloat(value)) : value;
  });
}

constexpr unsigned kThreads = 256;

/// Sets bit b of hits[w] if token begin + 32 w + b exists below `end` and has this id. Returns whether any bit is set.
__device__ __forceinline__ bool findTokens(const int32_t* ids, int32_t id, int64_t begin, int64_t end, uint32_t* hits) {
  const int64_t token = begin + threadIdx.x;
  const uint32_t warpHits = __ballot_sync(kWholeWarp, token < end && ids[token] == id);
  __syncthreads();  // other threads may still read the previous hits
  if (threadIdx.x % kWarp == 0) hits[threadIdx.x / kWarp] = warpHits;
  __syncthreads();
  uint32_t any = 0;
  for (unsigned warp = 0; warp < kThreads / kWarp; ++warp) any |= hits[warp];
  return any != 0;
}

/// dTable [V, D] += dY [T, D] at ids [T]. One block per token: the block of an id's first token adds the rows of all
/// its tokens in order, the others do nothing, so no two blocks write one row. Reads dY once, reads and writes the rows
/// of dTable that occur, and reads T^2 / 2 to T^2 ids from the caches.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    embeddingBackwardKernel(Rows<const T> dY, const int32_t* ids, Rows<float> dTable, int64_t tokens, int64_t columns,
                            int64_t limit, DeviceReport* report) {
  MORA_SHARED(uint32_t, hits, [kThreads / kWarp]);
  const int64_t token = blockIdx.x;
  const int32_t id = ids[token];
  if (!indexFits(report, Operation::embeddingBackward, token, id, limit)) return;
  for (int64_t begin = 0; begin < token; begin += kThreads)
    if (findTokens(ids, id, begin, token, hits)) return;
  float* const target = dTable.at(id);
  for (int64_t begin = token; begin < tokens; begin += kThreads) {
    if (!findTokens(ids, id, begin, tokens, hits)) continue;
    for (int64_t column = static_cast<int64_t>(threadIdx.x) * N; column < columns; column += kThreads * N) {
      float sums[N], values[N];
      load(target + column, sums);
      for (unsigned warp = 0; warp < kThreads / kWarp; ++warp)
        for (uint32_t left = hits[warp]; left != 0; left &= left - 1) {
          const int64_t row = begin + warp * kWarp + __ffs(static_cast<int>(left)) - 1;
          load(dY.at(row) + column, values);
#pragma unroll
          for (int i = 0; i < N; ++i) sums[i] += values[i];
        }
      store(sums, target + column);
    }
  }
}

/// A table of blocks as rows of plain elements of `bytes` bytes each.
TensorDesc asElements(TensorDesc table, DType element, int64_t bytes) {
  const DTypeTraits traits = traitsOf(table.dtype);
  const int64_t unit = traits.blockSize * bytes;  // values * bytes of an element, per element * bytes of a block
  return {table.data,
          element,
          2,
          {table.shape[0], table.shape[1] * traits.blockBytes / unit},
          {table.strides[0] * traits.blockBytes / unit, 1}};
}

/// y = values of the selected rows of a block format, whose blocks are gathered first.
void quantisedEmbedding(Context& context, TensorDesc table, TensorDesc ids, TensorDesc y) {
  const int64_t tokens = y.shape[0], columns = columnsOf(y);
  const DTypeTraits traits = traitsOf(table.dtype);
  void* const blocks = context.scratch(Slot::intermediate, static_cast<size_t>(tokens * (columns / traits.blockSize)) *
                                                               static_cast<size_t>(traits.blockBytes));
  const TensorDesc gathered{blocks, table.dtype, 2, {tokens, columns}, {columns, 1}};
  pickRowsOf<Pick::gather, uint8_t, uint8_t>(context, Operation::embedding, asElements(table, DType::u8, 1), ids,
                                             asElements(gathered, DType::u8, 1));
  dequantise(context, gathered, y);
}

/// Gather or scatter between tensors of one type.
template <Pick pick>
void pickSameType(Context& context, const char* name, Operation operation, TensorDesc x, TensorDesc at, TensorDesc y) {
  withFloatType(x.dtype, name, [&](auto type) {
    using T = decltype(type);
    pickRowsOf<pick, T, T>(context, operation, x, at, y);
  });
  checkLaunch(name);
}

}  // namespace

void embedding(Context& context, TensorDesc table, TensorDesc ids, TensorDesc y) {
  if (elementsOf(y) == 0) return;
  if (isQuantised(table.dtype)) {
    quantisedEmbedding(context, table, ids, y);
  } else {
    withFloatType(table.dtype, "embedding", [&](auto tableType) {
      withFloatType(y.dtype, "embedding", [&](auto type) {
        pickRowsOf<Pick::gather, decltype(tableType), decltype(type)>(context, Operation::embedding, table, ids, y);
      });
    });
  }
  checkLaunch("embedding");
}

void embeddingBackward(Context& context, TensorDesc dY, TensorDesc ids, TensorDesc dTable) {
  const int64_t tokens = dY.shape[0], columns = columnsOf(dY);
  if (tokens == 0 || columns == 0) return;
  const uint64_t sums = static_cast<uint64_t>(tokens * columns) * sizeof(float);  // at most: ids may repeat
  expectCost(bytesOf(dY) + bytesOf(ids) + sums, sums);
  withRowVectors(dY.dtype, "embeddingBackward", {dY, dTable}, [&](auto type, auto width) {
    using T = decltype(type);
    launch(embeddingBackwardKernel<T, width>, dim3(static_cast<unsigned>(tokens)), dim3(kThreads), 0, context.stream,
           rowsOf<const T>(dY), static_cast<const int32_t*>(ids.data), rowsOf<float>(dTable), tokens, columns,
           dTable.shape[0], context.report);
  });
  checkLaunch("embeddingBackward");
}

void gatherRows(Context& context, TensorDesc x, TensorDesc rows, TensorDesc y) {
  pickSameType<Pick::gather>(context, "gatherRows", Operation::gatherRows, x, rows, y);
}

void scatterRows(Context& context, TensorDesc x, TensorDesc rows, TensorDesc y) {
  pickSameType<Pick::scatter>(context, "scatterRows", Operation::scatterRows, x, rows, y);
}

void gatherColumns(Context& context, TensorDesc x, TensorDesc columns, TensorDesc y, bool accumulate) {
  const int64_t rows = y.shape[0], count = columnsOf(y);
  if (rows == 0 || count == 0) return;
  withFloatType(x.dtype, "gatherColumns", [&](auto type) {
    using T = decltype(type);
    const auto bytes = static_cast<uint64_t>(rows * count) * sizeof(T);
    expectCost(bytesOf(columns) + (accumulate ? 2 : 1) * bytes, bytes);
    const auto enqueue = [&](auto kernel) {
      launchPieces(kernel, rows, count, context.stream, rowsOf<const T>(x), static_cast<const int32_t*>(columns.data),
                   rowsOf<T>(y), rows, count, columnsOf(x), context.report);
    };
    if (accumulate)
      enqueue(pickColumns<T, true>);
    else
      enqueue(pickColumns<T, false>);
  });
  checkLaunch("gatherColumns");
}

}  // namespace mora::cuda
