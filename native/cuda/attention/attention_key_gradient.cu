// Attention backward, second half: the gradients of keys and values. attention_query_gradient.cu explains formulas and
// letters, and computes the delta that this half needs.
#include "cuda/attention/attention_kernels.h"
#include "cuda/attention/attention_products.h"
#include "cuda/attention/attention_softmax.h"

namespace mora::cuda {
namespace {

/// dK and dV of a tile of keys of one key-value head, or one of the two. Rows of all products are keys, columns
/// queries. Reads k and v once, and q and dOut of the queries that see the tile.
template <typename T, int kColumns, bool kWithKeys, bool kWithValues, bool kPlain>
__global__ void __launch_bounds__(KeyGradientSizes<T, kColumns>::kThreads, kLeastBlocks)
    attentionKeyGradient(BackwardArguments<T> arguments) {
  using Sizes = KeyGradientSizes<T, kColumns>;
  constexpr int kRowTiles = Sizes::kRowTiles, kColumnTiles = Sizes::kColumnTiles;
  const int32_t firstResult = Sizes::firstResult();
  const Scoring& scoring = arguments.scoring;
  MORA_DYNAMIC_SHARED(T, shared);
  T* const vTile = shared + Sizes::kTileElements;
  T* const blocks = vTile + Sizes::kTileElements;
  float* const facts = reinterpret_cast<float*>(reinterpret_cast<unsigned char*>(shared) + Sizes::kTileBytes);

  const Documents& documents = arguments.documents;
  // The most queries see the first tiles: they start first, so that all blocks end together.
  const auto firstKeyOf = [&](int32_t document) { return documents.firstKey(document); };
  const DocumentTile tile = tileOf<Sizes::kRows>(documents.count, static_cast<int32_t>(blockIdx.x), firstKeyOf);
  const Document document = documents.at(tile.document);
  const int32_t rows = min(Sizes::kRows, document.keys - tile.first);
  if (rows <= 0) return;
  const auto keyHead = static_cast<int32_t>(blockIdx.y);
  const int32_t firstRow = document.firstKey + tile.first, firstQuery = document.firstQueryOf(tile.first);
  const int32_t later = document.queries - document.keys;  // key i is seen by queries from i + later
  const int32_t endQuery =
      kPlain ? document.queries : min(document.queries, tile.first + rows - 1 + later + scoring.window);
  const int32_t stepsOfHead = (max(0, endQuery - firstQuery) + Sizes::kBlock - 1) / Sizes::kBlock;
  const int32_t steps = stepsOfHead * arguments.group;

  const auto loadRows = [&](const Heads<const T>& from, T* to) {
    loadTile<Sizes, Sizes::kRows>(from, firstRow, keyHead, rows, arguments.headSize, arguments.wide, to);
  };
  const auto begin = [&](int32_t step) {
    const int32_t head = keyHead * arguments.group + step / stepsOfHead;
    const int32_t query = firstQuery + step % stepsOfHead * Sizes::kBlock, count = document.queries - query;
    const auto loadBlock = [&](const Heads<const T>& from, T* to) {
      loadTile<Sizes, Sizes::kBlock>(from, document.firstQuery + query, head, count, arguments.headSize, arguments.wide,
                                     to);
    };
    T* const to = blocks + step % 2 * 2 * Sizes::kBlockElements;
    loadBlock(arguments.q, to);
    loadBlock(arguments.dOut, to + Sizes::kBlockElements);
    float* const logSums = facts + step % 2 * 2 * Sizes::kBlock;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < Sizes::kBlock; i += Sizes::kThreads) {
      const int64_t row = int64_t{document.firstQuery} + query + i;
      logSums[i] = i < count ? arguments.logSum2(head, row) : 0.0f;
      logSums[Sizes::kBlock + i] = i < count ? arguments.deltaAt(head, row) : 0.0f;
    }
  };
  loadRows(arguments.k, shared);
  if constexpr (kWithKeys) loadRows(arguments.v, vTile);
  if (steps > 0) begin(0);

  const int32_t warpRow = static_cast<int32_t>(threadIdx.x / kWarp) * Sizes::kWarpRows;
  const int32_t firstKey = tile.first + warpRow;  // of the warp
  const int32_t allSeeFrom = firstKey + Sizes::kWarpRows - 1 + later;

  float dK[kRowTiles][kWithKeys ? Sizes::kPieces : 1][2][4];
  float dV[kRowTiles][kWithValues ? Sizes::kPieces : 1][2][4];
  if constexpr (kWithKeys) clear(dK);
  if constexpr (kWithValues) clear(dV);
  for (int32_t step = 0; step < steps; ++step) {
    waitForCopies();
    __syncthreads();
    if (step + 1 < steps) begin(step + 1);
    const T* const q = blocks + step % 2 * 2 * Sizes::kBlockElements;
    const T* const dOut = q + Sizes::kBlockElements;
    const float* const logSums = facts + step % 2 * 2 * Sizes::kBlock;
    const float* const deltas = logSums + Sizes::kBlock;
    const int32_t query = firstQuery + step % stepsOfHead * Sizes::kBlock;
    if (warpRow >= rows || query + Sizes::kBlock <= firstKey + later) continue;  // no query sees these keys
    if (!kPlain && query >= allSeeFrom + scoring.window) continue;

    float weights[kRowTiles][kColumnTiles][4];
    multiplyRows<kColumns>(shared + warpRow * Sizes::kStride, q, weights);
    if constexpr (!kPlain) {
      if (scoring.softcap > 0)
        forScores(weights, [&](int r, int n, int i) { weights[r][n][i] = scoring.capped(weights[r][n][i]); });
    }
    const bool someHidden = query < allSeeFrom || query + Sizes::kBlock > document.queries ||
                            (!kPlain && query + Sizes::kBlock > firstKey + later + scoring.window);
    forScores(weights, [&](int r, int n, int i) {
      const int32_t column = columnOf(n, i), other = query + column;
      const int32_t first = firstKey + r * kMmaRows + i / 2 * 8 + laneRow() + later;  // the first to see the row's key
      bool hidden = other < first || other >= document.queries;
      if constexpr (!kPlain) hidden = hidden || other >= first + scoring.window;
      weights[r][n][i] = someHidden && hidden ? 0.0f : exp2f(fmaf(weights[r][n][i], scoring.slope, -logSums[column]));
    });
    if constexpr (kWithValues) addProduct<kColumns>(weights, dOut + firstResult, dV);
    if constexpr (kWithKeys) {
      float gradients[kRowTiles][kColumnTiles][4];
      multiplyRows<kColumns>(vTile + warpRow * Sizes::kStride, dOut, gradients);
      forScores(weights, [&](int r, int n, int i) {
        const float p = weights[r][n][i];
        gradients[r][n][i] = p * (gradients[r][n][i] - deltas[columnOf(n, i)]);
        // The score is recomputed from its weight: keeping both would need too many registers.
        if (!kPlain && scoring.softcap > 0 && p > 0)
          gradients[r][n][i] *= scoring.slopeOfCap((log2f(p) + logSums[columnOf(n, i)]) / scoring.slope);
      });
      addProduct<kColumns>(gradients, q + firstResult, dK);
    }
  }

  const auto storeRows = [&](const auto& results, float factor, const Heads<T>& to) {
    float factors[kRowTiles][2];
    forLaneRows<kRowTiles>([&](int r, int half, int) { factors[r][half] = factor; });
    storeResults(results, factors, to.fromColumn(firstResult), firstRow + warpRow, keyHead, rows - warpRow,
                 arguments.headSize - firstResult, arguments.wide);
  };
  if constexpr (kWithKeys) storeRows(dK, scoring.scale, arguments.dK);
  if constexpr (kWithValues) storeRows(dV, 1.0f, arguments.dV);
}

}  // namespace

template <typename T>
void differentiateKeys(Context& context, const BackwardArguments<T>& arguments, int64_t keyHeads) {
  withHeadSize(arguments.headSize, [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    const AttentionCost cost(arguments, keyHeads * arguments.group, sizeof(T));
    const auto launchKeys = [&](auto kernel, uint64_t results, uint64_t products) {
      expectCost(2 * (cost.queries + cost.keys + cost.rowFacts), results * cost.keys, products * cost.product);
      launchTiles<KeyGradientSizes<T, kColumns>>(context, "attentionBackward", kernel, arguments,
                                                 arguments.documents.keys, keyHeads);
    };
    withScoring(arguments.scoring, [&](auto plain) {
      constexpr bool kPlain = decltype(plain)::value;
      // Beyond 128 columns, results of both do not fit into registers.
      if constexpr (kColumns <= 128) {
        launchKeys(attentionKeyGradient<T, kColumns, true, true, kPlain>, 2, 4);
      } else {
        launchKeys(attentionKeyGradient<T, kColumns, false, true, kPlain>, 1, 2);
        launchKeys(attentionKeyGradient<T, kColumns, true, false, kPlain>, 1, 3);
      }
    });
  });
}

template void differentiateKeys(Context&, const BackwardArguments<float>&, int64_t);
template void differentiateKeys(Context&, const BackwardArguments<__nv_bfloat16>&, int64_t);
template void differentiateKeys(Context&, const BackwardArguments<__half>&, int64_t);

}  // namespace mora::cuda
