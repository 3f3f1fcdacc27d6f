// Attention forward, for documents of several queries (Dao 2023, FlashAttention-2, algorithm 1).
//
//   q, out [Tq, H, E], k, v [Tk, K, E] in f32, bf16 or f16; lse [H, Tq] f32, may be absent.
//
// A block has one head and a tile of one document's queries; it loops over blocks of the keys that they see. Scores and
// weights never leave registers. Traffic per block: its queries once, and the keys and values that they see (mostly
// from L2, since heads of a group and tiles of a document read the same ones).
#include <limits>

#include "cuda/attention/attention_kernels.h"
#include "cuda/attention/attention_products.h"
#include "cuda/attention/attention_softmax.h"

namespace mora::cuda {
namespace {

template <typename T, int kColumns, bool kPlain>
__global__ void __launch_bounds__(ForwardSizes<T, kColumns>::kThreads, kLeastBlocks)
    attentionForward(ForwardArguments<T> arguments) {
  using Sizes = ForwardSizes<T, kColumns>;
  constexpr int kRowTiles = Sizes::kRowTiles, kColumnTiles = Sizes::kColumnTiles;
  const int32_t firstResult = Sizes::firstResult();
  MORA_DYNAMIC_SHARED(T, shared);
  T* const blocks = shared + Sizes::kTileElements;

  const QueryTile tile = queryTile<Sizes::kRows>(arguments.documents, arguments.group, arguments.scoring.window);
  if (tile.rows <= 0) return;
  const int32_t firstStep = kPlain ? 0 : tile.firstKey / Sizes::kBlock;
  const int32_t steps = (tile.keys + Sizes::kBlock - 1) / Sizes::kBlock;

  const auto begin = [&](int32_t step) { loadKeyValueBlock<Sizes>(arguments, tile, step, blocks); };
  loadTile<Sizes, Sizes::kRows>(arguments.q, tile.row, tile.head, tile.rows, arguments.headSize, arguments.wide,
                                shared);
  if (steps > firstStep) begin(firstStep);

  const int32_t warpRow = static_cast<int32_t>(threadIdx.x / kWarp) * Sizes::kWarpRows, rows = tile.rows - warpRow;
  const VisibleKeys<kRowTiles> visible(tile.document, tile.first + warpRow, rows);
  SoftmaxRows<kRowTiles> softmax;
  float out[kRowTiles][Sizes::kPieces][2][4];
  clear(out);
  for (int32_t step = firstStep; step < steps; ++step) {
    waitForCopies();
    __syncthreads();
    if (step + 1 < steps) begin(step + 1);
    const T* const k = blocks + step % 2 * 2 * Sizes::kBlockElements;
    const T* const v = k + Sizes::kBlockElements;
    const int32_t firstKey = step * Sizes::kBlock;
    if (kPlain ? firstKey >= visible.most : visible.noneSees(firstKey, Sizes::kBlock, arguments.scoring.window))
      continue;

    float scores[kRowTiles][kColumnTiles][4];
    multiplyRows<kColumns>(shared + warpRow * Sizes::kStride, k, scores);
    if constexpr (kPlain)
      visible.hideOthers(scores, firstKey);
    else
      visible.scoreOthers(scores, firstKey, arguments.scoring);
    float shrink[kRowTiles][2];
    softmax.add(scores, arguments.scoring.slope, shrink);
    scale(out, shrink);
    addProduct<kColumns>(scores, v + firstResult, out);
  }

  softmax.sumLanes();
  float factors[kRowTiles][2];
  forLaneRows<kRowTiles>([&](int r, int half, int row) {
    const float total = softmax.total[r][half];
    factors[r][half] = total == 0 ? 0.0f : 1.0f / total;
    if (arguments.lse == nullptr || firstResult > 0 || row >= rows || lanePair() != 0) return;
    arguments.lse[tile.head * arguments.lseStride + tile.row + warpRow + row] =
        logSum(softmax.maximum[r][half], total, arguments.scoring.softmaxScale);
  });
  storeResults(out, factors, arguments.out.fromColumn(firstResult), tile.row + warpRow, tile.head, rows,
               arguments.headSize - firstResult, arguments.wide);
}

}  // namespace

template <typename T>
void attendTiles(Context& context, const ForwardArguments<T>& arguments, int64_t heads) {
  const AttentionCost cost(arguments, heads, sizeof(T));
  expectCost(cost.queries + 2 * cost.keys, cost.queries + (arguments.lse ? cost.rowFacts : 0), 2 * cost.product);
  withHeadSize(arguments.headSize, [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    withScoring(arguments.scoring, [&](auto plain) {
      launchTiles<ForwardSizes<T, kColumns>>(context, "attention",
                                             attentionForward<T, kColumns, decltype(plain)::value>, arguments,
                                             arguments.documents.queries, heads);
    });
  });
}

template void attendTiles(Context&, const ForwardArguments<float>&, int64_t);
template void attendTiles(Context&, const ForwardArguments<__nv_bfloat16>&, int64_t);
template void attendTiles(Context&, const ForwardArguments<__half>&, int64_t);

}  // namespace mora::cuda
