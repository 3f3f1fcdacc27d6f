// The gated delta rule over packed documents (arXiv 2412.06464), and its gradient; native/cpu/layers/delta_rule.cpp
// has the formulas, whose letters are used here.
//
// Columns of a state do not depend on each other, so that a block has a few of them for one value head of a document
// and passes through its chunks in order: forward for states, R and Y, then backward for the states' gradients and W.
// The rest of the gradient is local to a chunk, and has a block for each chunk and key head.
#include <algorithm>

#include "cuda/attention/attention_documents.h"
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/offsets.h"
#include "cuda/tensor_view.h"

namespace mora::cuda {
namespace {

constexpr int kChunkRows = 64, kStateColumns = 32;  // of a block
constexpr int kSide = 16, kThreads = kSide * kSide;
constexpr int kRows = kChunkRows / kSide;  // of a thread in a product
constexpr int kSteps = 16;                 // of a product that are staged at once
constexpr int kScoreStride = kChunkRows + 1, kTileStride = kStateColumns + 1;

/// Operands of a product in shared memory.
struct Staging {
  float left[kSteps][kChunkRows + 1], right[kSteps][kChunkRows + 1];
};

/// Which elements of an operand are neighbours in memory: those of adjacent steps, or of adjacent rows or columns.
enum class Order { steps, across };

/// Calls body(step, index) for the elements of an operand [kSteps, count], neighbours by neighbouring threads.
template <Order kOrder, int kCount, typename Body>
__device__ __forceinline__ void forOperand(Body&& body) {
  for (int i = static_cast<int>(threadIdx.x); i < kSteps * kCount; i += kThreads) {
    if constexpr (kOrder == Order::steps)
      body(i % kSteps, i / kSteps);
    else
      body(i / kCount, i % kCount);
  }
}

/// sums += left [64, steps] right [steps, 16 N] by the whole block; left(row, step) and right(step, column) are defined
/// everywhere. Thread 16 y + x has rows y + 16 r and columns x + 16 c.
template <Order kLeft, Order kRight, int N, typename Left, typename Right>
__device__ void addProduct(Staging& staging, int32_t steps, Left&& left, Right&& right, float (&sums)[kRows][N]) {
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  for (int32_t first = 0; first < steps; first += kSteps) {
    __syncthreads();
    forOperand<kLeft, kChunkRows>(
        [&](int step, int row) { staging.left[step][row] = first + step < steps ? left(row, first + step) : 0.0f; });
    forOperand<kRight, kSide * N>([&](int step, int column) {
      staging.right[step][column] = first + step < steps ? right(first + step, column) : 0.0f;
    });
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      float a[kRows], b[N];
#pragma unroll
      for (int r = 0; r < kRows; ++r) a[r] = staging.left[step][y + kSide * r];
#pragma unroll
      for (int c = 0; c < N; ++c) b[c] = staging.right[step][x + kSide * c];
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int c = 0; c < N; ++c) sums[r][c] = fmaf(a[r], b[c], sums[r][c]);
    }
  }
}

/// Calls body(r, c, row, column) for the elements [r][c] of a product that this thread has. Loops are unrolled, so that
/// they stay in registers.
template <int N, typename Body>
__device__ __forceinline__ void forElements(Body&& body) {
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int c = 0; c < N; ++c) body(r, c, y + kSide * r, x + kSide * c);
}

/// Calls body(row, column, sum) for the elements of a product that this thread has.
template <int N, typename Body>
__device__ __forceinline__ void forProduct(float (&sums)[kRows][N], Body&& body) {
  forElements<N>([&](int r, int c, int row, int column) { body(row, column, sums[r][c]); });
}

/// Rows of a chunk as f32, scaled, and 0 outside.
template <typename T>
struct ChunkRows {
  const T* data;
  int64_t stride;
  int32_t rows, columns;
  float scale = 1;

  __device__ __forceinline__ float operator()(int32_t row, int32_t column) const {
    return row < rows && column < columns ? scale * toFloat(data[row * stride + column]) : 0.0f;
  }
};

/// A state from a column on, and 0 outside or without one.
struct StateTile {
  const float* data;  // null: 0
  int32_t keySize, valueSize, firstColumn;

  __device__ __forceinline__ bool has(int32_t i, int32_t j) const { return i < keySize && firstColumn + j < valueSize; }
  __device__ __forceinline__ int64_t offset(int32_t i, int32_t j) const {
    return int64_t{i} * valueSize + firstColumn + j;
  }
  __device__ __forceinline__ float operator()(int32_t i, int32_t j) const {
    return data && has(i, j) ? data[offset(i, j)] : 0.0f;
  }
};

/// What the decays of a chunk's tokens make of g and beta.
struct Decays {
  double sums[kChunkRows];
  float beta[kChunkRows], fromStart[kChunkRows], toEnd[kChunkRows];

  __device__ __forceinline__ float between(int32_t t, int32_t s) const {
    return expf(static_cast<float>(sums[t] - sums[s]));
  }
};

/// A chunk of a document, whose number is that of its tile (tileOf).
struct Chunk {
  int64_t number, first;  // first row in the tensors
  int32_t rows;
};

/// The operands of both passes. States are [., H, Dk, Dv], of documents or of chunks.
template <typename T>
struct DeltaRule {
  Documents documents;
  int32_t heads, group, keySize, valueSize;
  Heads<const T> q, k, v;
  Rows<const float> g, beta;
  const float* state;  // null: 0

  __device__ __forceinline__ int64_t stateAt(int64_t index, int32_t head) const {
    return (index * heads + head) * keySize * valueSize;
  }
  __device__ __forceinline__ StateTile tile(const float* states, int64_t index, int32_t head, int32_t column) const {
    return {states ? states + stateAt(index, head) : nullptr, keySize, valueSize, column};
  }
  __device__ __forceinline__ float queryScale() const { return rsqrtf(static_cast<float>(keySize)); }
  __device__ __forceinline__ ChunkRows<T> queries(const Chunk& chunk, int32_t keyHead) const {
    return {q.at(chunk.first, keyHead), q.rowStride, chunk.rows, keySize, queryScale()};
  }
  __device__ __forceinline__ ChunkRows<T> keys(const Chunk& chunk, int32_t keyHead) const {
    return {k.at(chunk.first, keyHead), k.rowStride, chunk.rows, keySize};
  }
  /// Columns from `column` on of v or dY.
  __device__ __forceinline__ ChunkRows<T> values(const Heads<const T>& tensor, const Chunk& chunk, int32_t head,
                                                 int32_t column = 0) const {
    return {tensor.at(chunk.first, head) + column, tensor.rowStride, chunk.rows, valueSize - column};
  }
};

__device__ __forceinline__ int32_t chunksOf(const Document& document) {
  return (document.queries + kChunkRows - 1) / kChunkRows;
}
__device__ __forceinline__ Chunk chunkOf(const Document& document, int32_t documentNumber, int32_t index) {
  const int32_t before = index * kChunkRows;
  return {document.firstQuery / kChunkRows + documentNumber + index, int64_t{document.firstQuery} + before,
          min(kChunkRows, document.queries - before)};
}

template <typename T>
__device__ void loadDecays(const DeltaRule<T>& rule, const Chunk& chunk, int32_t head, Decays& decays) {
  const auto t = static_cast<int32_t>(threadIdx.x);
  __syncthreads();
  if (t < kChunkRows) {
    decays.sums[t] = t < chunk.rows ? rule.g.at(chunk.first + t)[head] : 0.0f;
    decays.beta[t] = t < chunk.rows ? rule.beta.at(chunk.first + t)[head] : 0.0f;
  }
  __syncthreads();
  if (t == 0)
    for (int i = 1; i < kChunkRows; ++i) decays.sums[i] += decays.sums[i - 1];
  __syncthreads();
  if (t < kChunkRows) {
    decays.fromStart[t] = expf(static_cast<float>(decays.sums[t]));
    decays.toEnd[t] = expf(static_cast<float>(decays.sums[chunk.rows - 1] - decays.sums[t]));
  }
  __syncthreads();
}

/// scores [64, 64] = (left K^T) D below the diagonal and, for Diagonal::with, on it. A barrier must follow.
enum class Diagonal { with, without };
template <Diagonal kDiagonal, typename T>
__device__ void scoreRows(Staging& staging, const ChunkRows<T>& left, const ChunkRows<T>& keys, const Decays& decays,
                          float* scores) {
  float sums[kRows][kChunkRows / kSide] = {};
  addProduct<Order::steps, Order::steps>(
      staging, keys.columns, left, [&](int32_t i, int32_t s) { return keys(s, i); }, sums);
  forProduct(sums, [&](int t, int s, float sum) {
    const bool seen = kDiagonal == Diagonal::with ? s <= t : s < t;
    scores[t * kScoreStride + s] = seen ? sum * decays.between(t, s) : 0.0f;
  });
}

/// The state after a chunk: to = last decay * from + rows^T values. Both may be the same.
template <typename T, typename Values>
__device__ void advance(Staging& staging, const ChunkRows<T>& rows, Values&& values, float decay, const StateTile& from,
                        float* to) {
  for (int32_t first = 0; first < from.keySize; first += kChunkRows) {
    float sums[kRows][kStateColumns / kSide] = {};
    addProduct<Order::across, Order::across>(
        staging, rows.rows, [&](int32_t i, int32_t t) { return rows(t, first + i); }, values, sums);
    forProduct(sums, [&](int i, int j, float sum) {
      if (from.has(first + i, j)) to[from.offset(first + i, j)] = fmaf(decay, from(first + i, j), sum);
    });
  }
}

/// What a forward pass writes: y and final states (null: none), or for a gradient the state before each chunk and R
/// [T, H, Dv].
template <typename T>
struct ForwardResults {
  Heads<T> y;
  float *finalState, *running, *starts, *residuals;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) deltaRuleForward(DeltaRule<T> rule, ForwardResults<T> results) {
  MORA_SHARED(Staging, staging, );
  MORA_SHARED(Decays, decays, );
  MORA_SHARED(float, scores, [kChunkRows * kScoreStride]);
  MORA_SHARED(float, updates, [kChunkRows * kTileStride]);
  const auto number = static_cast<int32_t>(blockIdx.x), head = static_cast<int32_t>(blockIdx.y),
             column = static_cast<int32_t>(blockIdx.z) * kStateColumns, keyHead = head / rule.group;
  const Document document = rule.documents.at(number);
  const int32_t chunks = chunksOf(document);
  float* const running = results.running ? results.running + rule.stateAt(number, head) : nullptr;
  StateTile state = rule.tile(rule.state, number, head, column);
  if (chunks == 0 && results.finalState) {
    for (auto i = static_cast<int32_t>(threadIdx.x); i < rule.keySize * kStateColumns; i += kThreads)
      if (const int32_t row = i / kStateColumns, j = i % kStateColumns; state.has(row, j))
        running[state.offset(row, j)] = state(row, j);
  }
  for (int32_t index = 0; index < chunks; ++index) {
    const Chunk chunk = chunkOf(document, number, index);
    const auto q = rule.queries(chunk, keyHead);
    const auto k = rule.keys(chunk, keyHead);
    const auto v = rule.values(rule.v, chunk, head, column);
    loadDecays(rule, chunk, head, decays);
    scoreRows<Diagonal::without>(staging, k, k, decays, scores);
    float sums[kRows][kStateColumns / kSide] = {};
    addProduct<Order::steps, Order::across>(staging, rule.keySize, k, state, sums);
    forProduct(sums, [&](int t, int j, float sum) {
      updates[t * kTileStride + j] = fmaf(-decays.fromStart[t], sum, v(t, j));
    });
    // Rows of R are final one after the other; each is subtracted from all that follow.
    const int j = static_cast<int>(threadIdx.x) % kStateColumns, down = static_cast<int>(threadIdx.x) / kStateColumns;
    for (int s = 0; s + 1 < chunk.rows; ++s) {
      __syncthreads();
      const float update = decays.beta[s] * updates[s * kTileStride + j];
      for (int t = s + 1 + down; t < chunk.rows; t += kThreads / kStateColumns)
        updates[t * kTileStride + j] = fmaf(-scores[t * kScoreStride + s], update, updates[t * kTileStride + j]);
    }
    __syncthreads();
    for (int t = down; t < chunk.rows; t += kThreads / kStateColumns) {
      float& update = updates[t * kTileStride + j];
      if (results.residuals && column + j < rule.valueSize)
        results.residuals[((chunk.first + t) * rule.heads + head) * rule.valueSize + column + j] = update;
      update *= decays.beta[t];
    }
    const auto update = [&](int32_t t, int32_t j) { return updates[t * kTileStride + j]; };
    if (results.y.data) {
      scoreRows<Diagonal::with>(staging, q, k, decays, scores);
      float read[kRows][kStateColumns / kSide] = {};
      addProduct<Order::steps, Order::across>(staging, rule.keySize, q, state, read);
      forProduct(read, [&](int t, int, float& sum) { sum *= decays.fromStart[t]; });
      addProduct<Order::steps, Order::across>(
          staging, chunk.rows, [&](int32_t t, int32_t s) { return scores[t * kScoreStride + s]; }, update, read);
      forProduct(read, [&](int t, int j, float sum) {
        if (t < chunk.rows && column + j < rule.valueSize)
          results.y.at(chunk.first + t, head)[column + j] = fromFloat<T>(sum);
      });
    }
    if (index + 1 == chunks && !results.finalState) break;
    float* const after = results.starts ? results.starts + rule.stateAt(chunk.number + 1, head) : running;
    const auto decayed = [&](int32_t t, int32_t j) { return decays.toEnd[t] * update(t, j); };
    advance(staging, k, decayed, decays.fromStart[chunk.rows - 1], state, after);
    state.data = after;
  }
}

/// What a gradient has beside the forward pass's operands, and its results. `ends` are the gradients of the states
/// after each chunk but the last, adjoints W [T, H, Dv], sums [2, T, K, Dk] room for dQ and dK.
template <typename T>
struct DeltaGradient {
  Heads<const T> dY;
  const float* dFinal;
  const float *starts, *residuals;
  float *ends, *adjoints, *sums;
  Heads<T> dQ, dK, dV;
  Rows<float> dG, dBeta;
  float* dState;
};

// Unless told how many blocks share a multiprocessor, ptxas spills for compute capability 8.0.
template <typename T>
__global__ void __launch_bounds__(kThreads, 2) deltaRuleAdjoint(DeltaRule<T> rule, DeltaGradient<T> gradient) {
  MORA_SHARED(Staging, staging, );
  MORA_SHARED(Decays, decays, );
  MORA_SHARED(float, scores, [kChunkRows * kScoreStride]);
  MORA_SHARED(float, adjoints, [kChunkRows * kTileStride]);
  const auto number = static_cast<int32_t>(blockIdx.x), head = static_cast<int32_t>(blockIdx.y),
             column = static_cast<int32_t>(blockIdx.z) * kStateColumns, keyHead = head / rule.group;
  const Document document = rule.documents.at(number);
  const int32_t chunks = chunksOf(document);
  StateTile dState = rule.tile(gradient.dFinal, number, head, column);
  if (chunks == 0 && gradient.dState) {
    for (auto i = static_cast<int32_t>(threadIdx.x); i < rule.keySize * kStateColumns; i += kThreads)
      if (const int32_t row = i / kStateColumns, j = i % kStateColumns; dState.has(row, j))
        gradient.dState[rule.stateAt(number, head) + dState.offset(row, j)] = dState(row, j);
  }
  for (int32_t index = chunks - 1; index >= 0; --index) {
    const Chunk chunk = chunkOf(document, number, index);
    const auto q = rule.queries(chunk, keyHead);
    const auto k = rule.keys(chunk, keyHead);
    const auto dY = rule.values(gradient.dY, chunk, head, column);
    loadDecays(rule, chunk, head, decays);
    scoreRows<Diagonal::with>(staging, q, k, decays, scores);
    float sums[kRows][kStateColumns / kSide] = {};
    addProduct<Order::steps, Order::across>(staging, rule.keySize, k, dState, sums);
    forProduct(sums, [&](int t, int, float& sum) { sum *= decays.toEnd[t]; });
    addProduct<Order::across, Order::across>(
        staging, chunk.rows, [&](int32_t s, int32_t t) { return scores[t * kScoreStride + s]; }, dY, sums);
    forProduct(sums, [&](int t, int j, float sum) { adjoints[t * kTileStride + j] = sum; });
    scoreRows<Diagonal::without>(staging, k, k, decays, scores);
    // Rows of W are final one after the other, from the last.
    const int j = static_cast<int>(threadIdx.x) % kStateColumns, down = static_cast<int>(threadIdx.x) / kStateColumns;
    for (int t = chunk.rows - 1; t > 0; --t) {
      __syncthreads();
      const float dValue = decays.beta[t] * adjoints[t * kTileStride + j];
      for (int s = down; s < t; s += kThreads / kStateColumns)
        adjoints[s * kTileStride + j] = fmaf(-scores[t * kScoreStride + s], dValue, adjoints[s * kTileStride + j]);
    }
    __syncthreads();
    for (int t = down; t < chunk.rows && column + j < rule.valueSize; t += kThreads / kStateColumns) {
      float& adjoint = adjoints[t * kTileStride + j];
      gradient.adjoints[((chunk.first + t) * rule.heads + head) * rule.valueSize + column + j] = adjoint;
      adjoint *= decays.beta[t];
      gradient.dV.at(chunk.first + t, head)[column + j] = fromFloat<T>(adjoint);
    }
    if (index == 0 && !gradient.dState) break;
    float* const before =
        index > 0 ? gradient.ends + rule.stateAt(chunk.number - 1, head) : gradient.dState + rule.stateAt(number, head);
    const auto fromValues = [&](int32_t t, int32_t j) { return -decays.fromStart[t] * adjoints[t * kTileStride + j]; };
    const auto fromResults = [&](int32_t t, int32_t j) { return decays.fromStart[t] * dY(t, j); };
    advance(staging, k, fromValues, decays.fromStart[chunk.rows - 1], dState, before);
    dState.data = before;
    advance(staging, q, fromResults, 1.0f, dState, before);
  }
}

/// Sum over the 16 threads of a row of a product.
__device__ __forceinline__ float rowSum(float value) {
  for (unsigned offset = kSide / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

/// dQ, dK, dG and dBeta of a chunk for the value heads of a key head, one after the other.
template <typename T>
__global__ void __launch_bounds__(kThreads) deltaRuleLocalGradient(DeltaRule<T> rule, DeltaGradient<T> gradient) {
  MORA_SHARED(Staging, staging, );
  MORA_SHARED(Decays, decays, );
  MORA_SHARED(float, dResponses, [kChunkRows * kScoreStride]);
  MORA_SHARED(float, dCouplings, [kChunkRows * kScoreStride]);
  MORA_SHARED(double, dSums, [kChunkRows]);
  MORA_SHARED(float, warps, [kWarp]);
  const auto keyHead = static_cast<int32_t>(blockIdx.y), thread = static_cast<int32_t>(threadIdx.x);
  const auto firstRow = [&](int32_t document) { return rule.documents.firstQuery(document); };
  const DocumentTile tile = tileOf<kChunkRows>(rule.documents.count, static_cast<int32_t>(blockIdx.x), firstRow);
  const Document document = rule.documents.at(tile.document);
  const int32_t index = tile.first / kChunkRows, chunks = chunksOf(document);
  if (index >= chunks) return;
  const Chunk chunk = chunkOf(document, tile.document, index);
  const auto q = rule.queries(chunk, keyHead);
  const auto k = rule.keys(chunk, keyHead);
  const auto keysByColumns = [&](int32_t i, int32_t s) { return k(s, i); };
  constexpr int kTile = kChunkRows / kSide;
  float queryKeys[kRows][kTile] = {}, keyKeys[kRows][kTile] = {};
  addProduct<Order::steps, Order::steps>(staging, rule.keySize, q, keysByColumns, queryKeys);
  addProduct<Order::steps, Order::steps>(staging, rule.keySize, k, keysByColumns, keyKeys);

  for (int32_t head = keyHead * rule.group; head < (keyHead + 1) * rule.group; ++head) {
    const bool isFirst = head == keyHead * rule.group, isLast = head + 1 == (keyHead + 1) * rule.group;
    const int64_t valueStride = int64_t{rule.heads} * rule.valueSize;
    const int64_t at = chunk.first * valueStride + int64_t{head} * rule.valueSize;
    const ChunkRows<float> residuals{gradient.residuals + at, valueStride, chunk.rows, rule.valueSize};
    const ChunkRows<float> adjoints{gradient.adjoints + at, valueStride, chunk.rows, rule.valueSize};
    const auto dY = rule.values(gradient.dY, chunk, head);
    const StateTile state =
        index == 0 ? rule.tile(rule.state, tile.document, head, 0) : rule.tile(gradient.starts, chunk.number, head, 0);
    const StateTile dState = index + 1 == chunks ? rule.tile(gradient.dFinal, tile.document, head, 0)
                                                 : rule.tile(gradient.ends, chunk.number, head, 0);
    loadDecays(rule, chunk, head, decays);
    const auto update = [&](int32_t t, int32_t j) { return decays.beta[t] * residuals(t, j); };
    const auto dValue = [&](int32_t t, int32_t j) { return decays.beta[t] * adjoints(t, j); };
    const auto updatesByColumns = [&](int32_t j, int32_t s) { return update(s, j); };

    // M, N, and what they change in the sums of g: rows minus columns.
    float responses[kRows][kTile] = {}, couplings[kRows][kTile] = {};
    addProduct<Order::steps, Order::steps>(staging, rule.valueSize, dY, updatesByColumns, responses);
    addProduct<Order::steps, Order::steps>(staging, rule.valueSize, dValue, updatesByColumns, couplings);
    __syncthreads();  // the last head's M and N were read
    forElements<kTile>([&](int r, int c, int t, int s) {
      const float decay = s <= t ? decays.between(t, s) : 0.0f;
      responses[r][c] *= decay;
      couplings[r][c] *= s < t ? -decay : 0.0f;
      dResponses[t * kScoreStride + s] = responses[r][c] * queryKeys[r][c] + couplings[r][c] * keyKeys[r][c];
    });
    __syncthreads();
    if (thread < kChunkRows) {
      double sum = 0;
      for (int s = 0; s < kChunkRows; ++s)
        sum += dResponses[thread * kScoreStride + s] - dResponses[s * kScoreStride + thread];
      dSums[thread] = sum;
    }
    __syncthreads();
    forProduct(responses, [&](int t, int s, float sum) { dResponses[t * kScoreStride + s] = sum; });
    forProduct(couplings, [&](int t, int s, float sum) { dCouplings[t * kScoreStride + s] = sum; });

    float both = 0;
    for (int32_t i = thread; i < rule.keySize * rule.valueSize; i += kThreads)
      both = fmaf(state(i / rule.valueSize, i % rule.valueSize), dState(i / rule.valueSize, i % rule.valueSize), both);
    const float lastChange = decays.fromStart[chunk.rows - 1] * blockSum(both, warps);

    float raised[kRows] = {}, lowered[kRows] = {};  // sums of g, by the states' parts of this thread's columns
    for (int32_t first = 0; first < rule.keySize; first += kChunkRows) {
      const auto writeOrSum = [&](int64_t which, const Heads<T>& to, int t, int i, float sum) {
        if (t >= chunk.rows || first + i >= rule.keySize) return;
        const int64_t keyHeads = rule.heads / rule.group;
        float& running =
            gradient.sums[((which * rule.documents.queries + chunk.first + t) * keyHeads + keyHead) * rule.keySize +
                          first + i];
        if (!isFirst) sum += running;
        if (isLast)
          to.at(chunk.first + t, keyHead)[first + i] = fromFloat<T>(sum);
        else
          running = sum;
      };
      const auto stateByColumns = [&](int32_t j, int32_t i) { return state(first + i, j); };
      const auto dStateByColumns = [&](int32_t j, int32_t i) { return dState(first + i, j); };
      const auto keys = [&](int32_t s, int32_t i) { return k(s, first + i); };
      const auto queries = [&](int32_t s, int32_t i) { return q(s, first + i); };

      float dQ[kRows][kTile] = {};
      addProduct<Order::steps, Order::steps>(
          staging, rule.valueSize, [&](int32_t t, int32_t j) { return decays.fromStart[t] * dY(t, j); }, stateByColumns,
          dQ);
      forElements<kTile>([&](int r, int c, int t, int i) { raised[r] += dQ[r][c] * queries(t, i); });
      addProduct<Order::steps, Order::across>(
          staging, chunk.rows, [&](int32_t t, int32_t s) { return dResponses[t * kScoreStride + s]; }, keys, dQ);
      forProduct(dQ, [&](int t, int i, float sum) { writeOrSum(0, gradient.dQ, t, i, rule.queryScale() * sum); });

      float dK[kRows][kTile] = {};
      addProduct<Order::steps, Order::steps>(
          staging, rule.valueSize, [&](int32_t t, int32_t j) { return -decays.fromStart[t] * dValue(t, j); },
          stateByColumns, dK);
      forElements<kTile>([&](int r, int c, int t, int i) { raised[r] += dK[r][c] * keys(t, i); });
      float later[kRows][kTile] = {};
      addProduct<Order::steps, Order::steps>(
          staging, rule.valueSize, [&](int32_t t, int32_t j) { return decays.toEnd[t] * update(t, j); },
          dStateByColumns, later);
      forElements<kTile>([&](int r, int c, int t, int i) {
        lowered[r] += later[r][c] * keys(t, i);
        dK[r][c] += later[r][c];
      });
      addProduct<Order::across, Order::across>(
          staging, chunk.rows, [&](int32_t s, int32_t t) { return dResponses[t * kScoreStride + s]; }, queries, dK);
      addProduct<Order::steps, Order::across>(
          staging, chunk.rows,
          [&](int32_t t, int32_t s) { return dCouplings[t * kScoreStride + s] + dCouplings[s * kScoreStride + t]; },
          keys, dK);
      forProduct(dK, [&](int t, int i, float sum) { writeOrSum(1, gradient.dK, t, i, sum); });
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float rise = rowSum(raised[r]), fall = rowSum(lowered[r]);
      if (thread % kSide == 0) {
        const int t = thread / kSide + kSide * r;
        dSums[t] += rise - fall;
        decays.toEnd[t] = fall;  // not needed any more
      }
    }
    for (int32_t t = thread / static_cast<int32_t>(kWarp); t < chunk.rows; t += kThreads / kWarp) {
      float sum = 0;
      for (auto j = static_cast<int32_t>(thread % kWarp); j < rule.valueSize; j += kWarp)
        sum = fmaf(adjoints(t, j), residuals(t, j), sum);
      sum = warpSum(sum);
      if (thread % kWarp == 0) gradient.dBeta.at(chunk.first + t)[head] = sum;
    }
    __syncthreads();
    if (thread == 0) {
      double sum = lastChange;
      for (int t = 0; t < chunk.rows; ++t) sum += decays.toEnd[t];
      for (int t = chunk.rows - 1; t >= 0; --t)
        gradient.dG.at(chunk.first + t)[head] = static_cast<float>(sum += dSums[t]);
    }
  }
}

template <typename T>
Heads<T> headsOf(const TensorDesc& tensor) {
  return {static_cast<T*>(tensor.data), tensor.strides[0], tensor.strides[1]};
}

template <typename T>
DeltaRule<T> deltaRuleOf(const TensorDesc& q, const TensorDesc& k, const TensorDesc& v, const TensorDesc& g,
                         const TensorDesc& beta, const TensorDesc& offsets, const TensorDesc& state) {
  const auto rows = static_cast<int32_t>(q.shape[0]), heads = static_cast<int32_t>(v.shape[1]);
  const auto* const starts = static_cast<const int32_t*>(offsets.data);
  return {{starts, starts, static_cast<int32_t>(offsets.shape[0]) - 1, rows, rows},
          heads,
          heads / static_cast<int32_t>(q.shape[1]),
          static_cast<int32_t>(q.shape[2]),
          static_cast<int32_t>(v.shape[2]),
          headsOf<const T>(q),
          headsOf<const T>(k),
          headsOf<const T>(v),
          rowsOf<const float>(g),
          rowsOf<const float>(beta),
          static_cast<const float*>(state.data)};
}

/// Blocks of the kernels that pass through documents.
template <typename T>
dim3 stateGrid(const DeltaRule<T>& rule) {
  return {static_cast<unsigned>(rule.documents.count), static_cast<unsigned>(rule.heads),
          static_cast<unsigned>(ceilDivide(rule.valueSize, kStateColumns))};
}

/// FLOPs of one product of all rows with their states.
uint64_t stateFlops(const TensorDesc& k, const TensorDesc& v) {
  return 2 * static_cast<uint64_t>(elementsOf(v)) * static_cast<uint64_t>(k.shape[2]);
}

bool isEmpty(const TensorDesc& k, const TensorDesc& v, const TensorDesc& offsets) {
  return offsets.shape[0] < 2 || v.shape[1] == 0 || k.shape[2] == 0 || v.shape[2] == 0;
}

}  // namespace

void gatedDeltaRule(Context& context, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc g, TensorDesc beta,
                    TensorDesc offsets, TensorDesc state, TensorDesc y, TensorDesc finalState) {
  requireOffsets(context, Operation::gatedDeltaRule, offsets, q.shape[0]);
  if (isEmpty(k, v, offsets)) return;
  withFloatType(q.dtype, "gatedDeltaRule", [&](auto type) {
    using T = decltype(type);
    const auto rule = deltaRuleOf<T>(q, k, v, g, beta, offsets, state);
    const auto stateBytes = static_cast<uint64_t>((offsets.shape[0] - 1) * v.shape[1] * k.shape[2] * v.shape[2]) * 4;
    auto* const final = static_cast<float*>(finalState.data);
    auto* const running = final ? final : static_cast<float*>(context.scratch(Slot::intermediate, stateBytes));
    expectCost(bytesOf(q) + bytesOf(k) + bytesOf(v) + bytesOf(g) + bytesOf(beta) + bytesOf(state),
               bytesOf(y) + bytesOf(finalState), 3 * stateFlops(k, v));
    launch(deltaRuleForward<T>, stateGrid(rule), dim3(kThreads), 0, context.stream, rule,
           ForwardResults<T>{headsOf<T>(y), final, running, nullptr, nullptr});
  });
  checkLaunch("gatedDeltaRule");
}

void gatedDeltaRuleBackward(Context& context, TensorDesc dY, TensorDesc dFinal, TensorDesc q, TensorDesc k,
                            TensorDesc v, TensorDesc g, TensorDesc beta, TensorDesc offsets, TensorDesc state,
                            TensorDesc dQ, TensorDesc dK, TensorDesc dV, TensorDesc dG, TensorDesc dBeta,
                            TensorDesc dState) {
  requireOffsets(context, Operation::gatedDeltaRuleBackward, offsets, q.shape[0]);
  if (isEmpty(k, v, offsets)) return;
  withFloatType(q.dtype, "gatedDeltaRuleBackward", [&](auto type) {
    using T = decltype(type);
    const auto rule = deltaRuleOf<T>(q, k, v, g, beta, offsets, state);
    const unsigned chunks = tileNumbers(q.shape[0], rule.documents.count, kChunkRows);
    const int64_t states = int64_t{chunks} * rule.heads * rule.keySize * rule.valueSize, values = elementsOf(v);
    const int64_t sums = rule.group > 1 ? 2 * elementsOf(q) : 0, all = 2 * states + 2 * values + sums;
    auto* const starts =
        static_cast<float*>(context.scratch(Slot::intermediate, static_cast<size_t>(all) * sizeof(float)));
    float *const ends = starts + states, *const residuals = ends + states, *const adjoints = residuals + values;
    const uint64_t stateBytes = static_cast<uint64_t>(states) * sizeof(float),
                   valueBytes = static_cast<uint64_t>(values) * sizeof(float);
    const uint64_t inputs = bytesOf(q) + bytesOf(k) + bytesOf(g) + bytesOf(beta);

    expectCost(inputs + bytesOf(v) + bytesOf(state), stateBytes + valueBytes, 2 * stateFlops(k, v));
    launch(deltaRuleForward<T>, stateGrid(rule), dim3(kThreads), 0, context.stream, rule,
           ForwardResults<T>{{nullptr, 0, 0}, nullptr, nullptr, starts, residuals});
    const DeltaGradient<T> gradient{headsOf<const T>(dY),
                                    static_cast<const float*>(dFinal.data),
                                    starts,
                                    residuals,
                                    ends,
                                    adjoints,
                                    adjoints + values,
                                    headsOf<T>(dQ),
                                    headsOf<T>(dK),
                                    headsOf<T>(dV),
                                    rowsOf<float>(dG),
                                    rowsOf<float>(dBeta),
                                    static_cast<float*>(dState.data)};
    expectCost(inputs + bytesOf(dY) + bytesOf(dFinal), stateBytes + valueBytes + bytesOf(dV) + bytesOf(dState),
               3 * stateFlops(k, v));
    launch(deltaRuleAdjoint<T>, stateGrid(rule), dim3(kThreads), 0, context.stream, rule, gradient);
    expectCost(inputs + bytesOf(dY) + 2 * (stateBytes + valueBytes),
               bytesOf(dQ) + bytesOf(dK) + bytesOf(dG) + bytesOf(dBeta), 3 * stateFlops(k, v));
    if (chunks > 0)
      launch(deltaRuleLocalGradient<T>, dim3(chunks, static_cast<unsigned>(rule.heads / rule.group)), dim3(kThreads), 0,
             context.stream, rule, gradient);
  });
  checkLaunch("gatedDeltaRuleBackward");
}

}  // namespace mora::cuda
