// The backward pass of attention for one task (Dao 2023, FlashAttention-2, algorithm 2): probabilities are recomputed
// from lse, chunk by chunk of queries and block by block of keys. With S = scale Q K^T, P = exp(S - lse):
//
//   dV = P^T dOut     dP = dOut V^T     dS = P (dP - delta), delta = sum of dOut * out
//   dQ = scale dS K   dK = scale dS^T Q
//
// With a cap c, P = exp(c tanh(S / c) - lse) and dS gets the factor 1 - tanh(S / c)^2.
//
// dQ accumulates over the blocks of a chunk, dK and dV over the chunks of a task, all in f32 and in ascending order:
// bits do not depend on which of them a task writes, nor on the task's share of the document.
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_ATTENTION_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_ATTENTION_BACKWARD_INL_H_
#undef MORA_CPU_ATTENTION_BACKWARD_INL_H_
#else
#define MORA_CPU_ATTENTION_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include "cpu/attention/attention_rows-inl.h"
#include "cpu/attention/attention_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <typename T>
struct BackwardArguments {
  Heads<const T> dOut, q;
  KeyHeads<T> k, v;
  Heads<const T> out;
  TensorDesc lse;
  Heads<T> dQ, dK, dV;
  AttentionScoring scoring;
  AttentionSizes sizes;
};

constexpr int64_t kBackwardKeys = 256;
constexpr int64_t kStripRows = 96;  // rows per step of a reduction over rows

/// Number of zeros after the last key that a tile of rows sees, since a tile of keys may read them; with matrix units,
/// the tile of rows before may read them, too.
constexpr int64_t kClearedKeys = kRowMultiple;

/// Row stride of probabilities: tiles of keys may extend past the block.
inline int64_t scoreStride(const AttentionSizes& sizes) { return roundUp(sizes.blockKeys + kClearedKeys, kLanes); }

/// f32 accumulators of dK and dV, with room for the last tile.
inline int64_t accumulatorElements(int64_t rows, int64_t E) { return (rows + kTileRows) * columnStride(E); }

template <class P>
struct BackwardBuffers {
  Unit *q, *dOut, *k, *v, *kTransposed, *vTransposed;
  Unit *qPairs, *dOutPairs, *kPairs;  // bf16 only
  Unit *p, *dS;                       // of a strip of rows, by steps of a reduction over rows
  float *scores, *gradients;          // bf16 only: a tile before rounding
  Unit* dSRows;                       // bf16 only: a tile of dS by rows
  float *dQ, *dK, *dV, *logSums, *deltas;
  Range* visible;

  /// @param mostKeys the largest number of keys whose dK and dV a task writes
  BackwardBuffers(Carver carver, const AttentionSizes& sizes, int64_t mostKeys)
      : BackwardBuffers(&carver, sizes, mostKeys) {}
  static size_t bytes(const AttentionSizes& sizes, int64_t mostKeys) {
    Carver carver(nullptr);
    BackwardBuffers(&carver, sizes, mostKeys);
    return carver.used();
  }

 private:
  BackwardBuffers(Carver* carver, const AttentionSizes& sizes, int64_t mostKeys) {
    const int64_t E = sizes.E, rows = sizes.chunkRows, keys = sizes.blockKeys;
    const int64_t stride = packedStride<P>(E), columns = columnStride(E), width = scoreStride(sizes);
    for (Unit** buffer : {&q, &dOut}) *buffer = carver->take<Unit>(rows * stride);
    for (Unit** buffer : {&k, &v, &kTransposed, &vTransposed}) *buffer = carver->take<Unit>(keys * stride);
    const bool paired = kTerms<P> == 2;
    for (Unit** buffer : {&qPairs, &dOutPairs}) *buffer = carver->take<Unit>(paired ? rows / 2 * columns : 0);
    kPairs = carver->take<Unit>(paired ? keys / 2 * columns : 0);
    for (Unit** buffer : {&p, &dS}) *buffer = carver->take<Unit>(kStripRows / kTerms<P> * width);
    for (float** buffer : {&scores, &gradients}) *buffer = carver->take<float>(paired ? kTileRows * width : 0);
    dSRows = carver->take<Unit>(paired ? kTileRows * width / 2 : 0);
    dQ = carver->take<float>(rows * columns);
    for (float** buffer : {&dK, &dV}) *buffer = carver->take<float>(accumulatorElements(mostKeys, E));
    for (float** buffer : {&logSums, &deltas}) *buffer = carver->take<float>(rows);
    visible = carver->take<Range>(rows);
  }
};

/// The data of a chunk of queries that does not depend on the keys.
template <class P, typename T>
HWY_INLINE void packChunk(const BackwardArguments<T>& arguments, const QueryRows& rows,
                          const BackwardBuffers<P>& buffers) {
  const int64_t E = arguments.sizes.E;
  const TensorDesc& lse = arguments.lse;
  rows.findVisible(buffers.visible);
  packQueries<P>(rows, arguments.q, E, buffers.q);
  packQueries<P>(rows, arguments.dOut, E, buffers.dOut);
  reducedRows<P>(buffers.q, rows.padded(), E, buffers.qPairs);
  reducedRows<P>(buffers.dOut, rows.padded(), E, buffers.dOutPairs);
  rows.forEach([&](int64_t row, int64_t token, int64_t head) HWY_ATTR {
    buffers.logSums[row] = kLog2E * static_cast<const float*>(lse.data)[head * lse.strides[0] + token * lse.strides[1]];
    buffers.deltas[row] = dotRow(arguments.dOut.at(token, head), arguments.out.at(token, head), E);
  });
}

/// P and dS of a tile of rows from `row` of the chunk against the block's keys, into the buffers' rows from `target`;
/// returns dS by rows with its stride.
template <class P, typename T>
HWY_INLINE std::pair<const Unit*, int64_t> differentiateTile(const BackwardArguments<T>& arguments,
                                                             const BackwardBuffers<P>& buffers, int64_t row,
                                                             const TileKeys& tile, int64_t target) {
  const AttentionSizes& sizes = arguments.sizes;
  const int64_t stride = packedStride<P>(sizes.E), steps = stepsOf<P>(sizes.E);
  const int64_t rowLength = scoreStride(sizes), cleared = tile.width + kClearedKeys;
  constexpr bool kPaired = kTerms<P> == 2;
  float* scores = kPaired ? buffers.scores : reinterpret_cast<float*>(buffers.p) + target * rowLength;
  float* gradients = kPaired ? buffers.gradients : reinterpret_cast<float*>(buffers.dS) + target * rowLength;
  multiplyRows<P, Left::byRows, Start::zero>(buffers.q + row * stride, stride, buffers.kTransposed, sizes.blockKeys,
                                             steps, scores, rowLength, tile.width);
  multiplyRows<P, Left::byRows, Start::zero>(buffers.dOut + row * stride, stride, buffers.vTransposed, sizes.blockKeys,
                                             steps, gradients, rowLength, tile.width);
  for (int64_t i = 0; i < kTileRows; ++i) {
    const auto differentiate = [&](auto capped) HWY_ATTR {
      softmaxBackwardRow<decltype(capped)::value>(scores + i * rowLength, gradients + i * rowLength, tile.hidden[i],
                                                  tile.visible[i], cleared, arguments.scoring, buffers.logSums[row + i],
                                                  buffers.deltas[row + i]);
    };
    if (arguments.scoring.softcap > 0)
      differentiate(std::true_type());
    else
      differentiate(std::false_type());
  }
  if constexpr (!kPaired) return {reinterpret_cast<const Unit*>(gradients), rowLength};
  for (int64_t i = 0; i < kTileRows; i += 2) {
    const int64_t from = i * rowLength, to = (target + i) / 2 * rowLength;
    roundRowPair(scores + from, scores + from + rowLength, cleared, buffers.p + to);
    roundRowPair(gradients + from, gradients + from + rowLength, cleared, buffers.dS + to);
    const int64_t used = stepsOf<P>(tile.width) * kTerms<P>;
    roundRow(gradients + from, used, buffers.dSRows + from / 2);
    roundRow(gradients + from + rowLength, used, buffers.dSRows + (from + rowLength) / 2);
  }
  return {buffers.dSRows, rowLength / 2};
}

/// Sets P and dS of rows that see none of the block's keys to zero.
template <class P, typename T>
HWY_INLINE void clearTile(const BackwardArguments<T>& arguments, const BackwardBuffers<P>& buffers, int64_t target) {
  const int64_t rowLength = scoreStride(arguments.sizes), from = target / kTerms<P> * rowLength;
  for (Unit* rows : {buffers.p, buffers.dS}) clearRows(rows + from, kTileRows / kTerms<P>, rowLength);
}

/// Adds a strip of rows [begin, end) of the chunk to dK and dV of the block of keys.
template <class P, typename T>
HWY_INLINE void addToKeys(const BackwardArguments<T>& arguments, const BackwardBuffers<P>& buffers,
                          const QueryRows& rows, Range strip, Range keys) {
  const int64_t E = arguments.sizes.E, group = arguments.sizes.group, columns = columnStride(E);
  const int64_t rowLength = scoreStride(arguments.sizes);
  const Unit* q = kTerms<P> == 1 ? buffers.q : buffers.qPairs;
  const Unit* dOut = kTerms<P> == 1 ? buffers.dOut : buffers.dOutPairs;
  for (int64_t key = 0; key < keys.size(); key += kTileRows) {
    // Tiles above the diagonal or past the window are not computed; where other tiles read them they are zero.
    const Document& document = rows.task.document;
    const int64_t lastKey = std::min(key + kTileRows, keys.size()) - 1;
    const int64_t firstRow = (document.firstQueryOf(keys.begin + key) - rows.queries.begin) * group;
    const int64_t endRow = (document.endQueryOf(keys.begin + lastKey) - rows.queries.begin) * group;
    const int64_t begin = std::max(strip.begin, firstRow / kRowMultiple * kRowMultiple);
    const int64_t end = std::min(strip.end, roundUp(endRow, kRowMultiple));
    if (begin >= end) continue;
    const int64_t steps = (end - begin) / kTerms<P>, step = begin / kTerms<P>;
    const int64_t left = (begin - strip.begin) / kTerms<P> * rowLength + key;
    const int64_t result = (keys.begin - rows.task.keys.begin + key) * columns;
    multiplyRows<P, Left::byColumns, Start::result>(buffers.p + left, rowLength, dOut + step * columns, columns, steps,
                                                    buffers.dV + result, columns, E);
    multiplyRows<P, Left::byColumns, Start::result>(buffers.dS + left, rowLength, q + step * columns, columns, steps,
                                                    buffers.dK + result, columns, E);
  }
}

/// Multiplies one block of keys with a packed chunk of queries.
template <class P, typename T>
HWY_INLINE void backwardBlock(const BackwardArguments<T>& arguments, const BackwardBuffers<P>& buffers,
                              const QueryRows& rows, Range keys) {
  const AttentionSizes& sizes = arguments.sizes;
  const AttentionTask& task = rows.task;
  const int64_t E = sizes.E, stride = packedStride<P>(E), columns = columnStride(E);
  const int64_t steps = stepsOf<P>(E), firstKey = task.document.firstKey + keys.begin;
  packKeys<P>(arguments.k, firstKey, keys.size(), task.kvHead, E, buffers.k);
  packKeys<P>(arguments.v, firstKey, keys.size(), task.kvHead, E, buffers.v);
  transposeUnits(buffers.k, stride, keys.size(), steps, buffers.kTransposed, sizes.blockKeys);
  transposeUnits(buffers.v, stride, keys.size(), steps, buffers.vTransposed, sizes.blockKeys);
  const Unit* k = reducedRows<P>(buffers.k, roundUp(keys.size(), kKeyMultiple), E, buffers.kPairs);

  for (int64_t begin = 0; begin < rows.padded(); begin += kStripRows) {
    const Range strip{begin, std::min(begin + kStripRows, rows.padded())};
    bool seen = false;
    for (int64_t row = strip.begin; row < strip.end; row += kTileRows) {
      const TileKeys tile(buffers.visible + row, keys);
      if (tile.width == 0) {
        // A neighbouring tile may read these rows.
        if constexpr (kRowMultiple > kTileRows) clearTile<P>(arguments, buffers, row - strip.begin);
        continue;
      }
      seen = true;
      const auto [dS, dSStride] = differentiateTile<P>(arguments, buffers, row, tile, row - strip.begin);
      if (!task.writesQueries) continue;
      multiplyRows<P, Left::byRows, Start::result>(dS, dSStride, k, columns, stepsOf<P>(tile.width),
                                                   buffers.dQ + row * columns, columns, E);
    }
    if (seen && task.writesKeys) addToKeys<P>(arguments, buffers, rows, strip, keys);
  }
}

template <class P, typename T>
void backwardTask(const BackwardArguments<T>& arguments, const AttentionTask& task, const BackwardBuffers<P>& buffers) {
  const AttentionSizes& sizes = arguments.sizes;
  const int64_t E = sizes.E, columns = columnStride(E);
  if (task.writesKeys) {
    for (float* sums : {buffers.dK, buffers.dV}) std::fill_n(sums, accumulatorElements(task.keys.size(), E), 0.0f);
  }
  for (int64_t begin = task.queries.begin; begin < task.queries.end; begin += sizes.chunkQueries) {
    const QueryRows rows{task, {begin, std::min(begin + sizes.chunkQueries, task.queries.end)}, sizes.group};
    const Range keys = rows.seenKeys();
    if (!task.writesQueries && keys.size() <= 0) continue;
    packChunk<P>(arguments, rows, buffers);
    if (task.writesQueries) std::fill_n(buffers.dQ, rows.padded() * columns, 0.0f);
    // Blocks start at the same keys for all chunks of queries, which add to the same sums.
    const int64_t skipped = (keys.begin - task.keys.begin) / sizes.blockKeys * sizes.blockKeys;
    for (int64_t block = task.keys.begin + skipped; block < keys.end; block += sizes.blockKeys) {
      backwardBlock<P>(arguments, buffers, rows, {block, std::min(block + sizes.blockKeys, keys.end)});
    }
    if (!task.writesQueries) continue;
    rows.forEach([&](int64_t row, int64_t token, int64_t head) HWY_ATTR {
      storeRow(buffers.dQ + row * columns, arguments.scoring.scale, E, arguments.dQ.at(token, head));
    });
  }
  if (!task.writesKeys) return;
  for (int64_t key = task.keys.begin; key < task.keys.end; ++key) {
    const int64_t token = task.document.firstKey + key, row = (key - task.keys.begin) * columns;
    storeRow(buffers.dK + row, arguments.scoring.scale, E, arguments.dK.at(token, task.kvHead));
    storeRow(buffers.dV + row, 1.0f, E, arguments.dV.at(token, task.kvHead));
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
