// Attention backward, first half: delta, and the gradient of queries.
//
// The backward pass (Dao 2023, FlashAttention-2, algorithm 2) recomputes probabilities from lse. With S = scale q k^T,
// P = exp(S - lse),
//
//   dV = P^T dOut     dP = dOut V^T     dS = P (dP - delta), delta = sum of dOut * out     dQ = scale dS K
//   dK = scale dS^T Q
//
// With a cap c, P = exp(c tanh(S / c) - lse) and dS gets the factor 1 - tanh(S / c)^2.
//
//   dOut, q, out, dQ [Tq, H, E], k, v, dK, dV [Tk, K, E] in f32, bf16 or f16; lse, delta [H, Tq] f32.
//
// For dQ a block has a tile of queries and loops over keys; for dK and dV it is the other way round. One block computes
// each sum, in a fixed order, so nothing is added atomically; the price is computing S and dP twice, 7 products for 5.
#include "cuda/attention/attention_kernels.h"
#include "cuda/attention/attention_products.h"
#include "cuda/attention/attention_softmax.h"
#include "cuda/dispatch.h"
#include "cuda/tensor_view.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// delta [H, Tq], one warp per row. Reads dOut and out once.
template <typename T, int kWidth>
__global__ void attentionDelta(BackwardArguments<T> arguments, int64_t rows) {
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;  // counted head by head
  if (index >= rows) return;
  const int64_t head = index / arguments.documents.queries, query = index % arguments.documents.queries;
  const T* const a = arguments.dOut.at(query, head);
  const T* const b = arguments.out.at(query, head);
  float sum = 0;
  for (int32_t i = static_cast<int32_t>(threadIdx.x % kWarp) * kWidth; i < arguments.headSize; i += kWarp * kWidth) {
    float left[kWidth], right[kWidth];
    load(a + i, left);
    load(b + i, right);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum = fmaf(left[j], right[j], sum);
  }
  sum = warpSum(sum);
  if (threadIdx.x % kWarp == 0) arguments.delta[index] = sum;
}

/// dQ of a tile of queries of one head. Reads q and dOut once, and the k and v that the tile sees.
template <typename T, int kColumns, bool kPlain>
__global__ void __launch_bounds__(QueryGradientSizes<T, kColumns>::kThreads, kLeastBlocks)
    attentionQueryGradient(BackwardArguments<T> arguments) {
  using Sizes = QueryGradientSizes<T, kColumns>;
  constexpr int kRowTiles = Sizes::kRowTiles, kColumnTiles = Sizes::kColumnTiles;
  const int32_t firstResult = Sizes::firstResult();
  const Scoring& scoring = arguments.scoring;
  MORA_DYNAMIC_SHARED(T, shared);
  T* const dOutTile = shared + Sizes::kTileElements;
  T* const blocks = dOutTile + Sizes::kTileElements;

  const QueryTile tile = queryTile<Sizes::kRows>(arguments.documents, arguments.group, arguments.scoring.window);
  if (tile.rows <= 0) return;
  const int32_t firstStep = kPlain ? 0 : tile.firstKey / Sizes::kBlock;
  const int32_t steps = (tile.keys + Sizes::kBlock - 1) / Sizes::kBlock;

  const auto loadRows = [&](const Heads<const T>& from, T* to) {
    loadTile<Sizes, Sizes::kRows>(from, tile.row, tile.head, tile.rows, arguments.headSize, arguments.wide, to);
  };
  const auto begin = [&](int32_t step) { loadKeyValueBlock<Sizes>(arguments, tile, step, blocks); };
  loadRows(arguments.q, shared);
  loadRows(arguments.dOut, dOutTile);
  if (steps > firstStep) begin(firstStep);

  const int32_t warpRow = static_cast<int32_t>(threadIdx.x / kWarp) * Sizes::kWarpRows, rows = tile.rows - warpRow;
  const VisibleKeys<kRowTiles> visible(tile.document, tile.first + warpRow, rows);
  float logSums[kRowTiles][2], deltas[kRowTiles][2];
  forLaneRows<kRowTiles>([&](int r, int half, int row) {
    logSums[r][half] = row < rows ? arguments.logSum2(tile.head, tile.row + warpRow + row) : 0.0f;
    deltas[r][half] = row < rows ? arguments.deltaAt(tile.head, tile.row + warpRow + row) : 0.0f;
  });

  float dQ[kRowTiles][Sizes::kPieces][2][4];
  clear(dQ);
  for (int32_t step = firstStep; step < steps; ++step) {
    waitForCopies();
    __syncthreads();
    if (step + 1 < steps) begin(step + 1);
    const T* const k = blocks + step % 2 * 2 * Sizes::kBlockElements;
    const T* const v = k + Sizes::kBlockElements;
    const int32_t firstKey = step * Sizes::kBlock;
    if (kPlain ? firstKey >= visible.most : visible.noneSees(firstKey, Sizes::kBlock, scoring.window)) continue;

    float scores[kRowTiles][kColumnTiles][4], gradients[kRowTiles][kColumnTiles][4];
    multiplyRows<kColumns>(shared + warpRow * Sizes::kStride, k, scores);
    if constexpr (kPlain)
      visible.hideOthers(scores, firstKey);
    else
      visible.scoreOthers(scores, firstKey, scoring);
    multiplyRows<kColumns>(dOutTile + warpRow * Sizes::kStride, v, gradients);
    forScores(scores, [&](int r, int n, int i) {
      const float p = exp2f(fmaf(scores[r][n][i], scoring.slope, -logSums[r][i / 2]));
      gradients[r][n][i] = p * (gradients[r][n][i] - deltas[r][i / 2]);
      if (!kPlain && scoring.softcap > 0 && p > 0) gradients[r][n][i] *= scoring.slopeOfCap(scores[r][n][i]);
    });
    addProduct<kColumns>(gradients, k + firstResult, dQ);
  }

  float factors[kRowTiles][2];
  forLaneRows<kRowTiles>([&](int r, int half, int) { factors[r][half] = scoring.scale; });
  storeResults(dQ, factors, arguments.dQ.fromColumn(firstResult), tile.row + warpRow, tile.head, rows,
               arguments.headSize - firstResult, arguments.wide);
}

template <typename T>
void sumDeltas(Context& context, const BackwardArguments<T>& arguments, int64_t heads) {
  constexpr unsigned kThreads = 128;
  const int64_t rows = heads * arguments.documents.queries;
  withWidth<kVectorWidth<T>>(arguments.wide, [&](auto width) {
    launch(attentionDelta<T, decltype(width)::value>, dim3(static_cast<unsigned>(ceilDivide(rows, kThreads / kWarp))),
           dim3(kThreads), 0, context.stream, arguments, rows);
    checkLaunch("attentionBackward");
  });
}

}  // namespace

template <typename T>
void differentiateQueries(Context& context, const BackwardArguments<T>& arguments, int64_t heads) {
  const int32_t queries = arguments.documents.queries;
  if (queries == 0) return;
  const AttentionCost cost(arguments, heads, sizeof(T));
  expectCost(2 * cost.queries, cost.rowFacts);
  sumDeltas(context, arguments, heads);
  expectCost(2 * (cost.queries + cost.keys + cost.rowFacts), cost.queries, 3 * cost.product);
  withHeadSize(arguments.headSize, [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    withScoring(arguments.scoring, [&](auto plain) {
      launchTiles<QueryGradientSizes<T, kColumns>>(context, "attentionBackward",
                                                   attentionQueryGradient<T, kColumns, decltype(plain)::value>,
                                                   arguments, queries, heads);
    });
  });
}

template void differentiateQueries(Context&, const BackwardArguments<float>&, int64_t);
template void differentiateQueries(Context&, const BackwardArguments<__nv_bfloat16>&, int64_t);
template void differentiateQueries(Context&, const BackwardArguments<__half>&, int64_t);

}  // namespace mora::cuda
