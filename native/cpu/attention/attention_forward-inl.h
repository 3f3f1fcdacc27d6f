// The forward pass of attention for one task: the rows of a chunk of queries with the keys that they see, block by
// block, by the online softmax (Milakov and Gimelshein 2018; Dao 2023, FlashAttention-2, algorithm 1).
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_ATTENTION_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_ATTENTION_FORWARD_INL_H_
#undef MORA_CPU_ATTENTION_FORWARD_INL_H_
#else
#define MORA_CPU_ATTENTION_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "cpu/attention/attention_rows-inl.h"
#include "cpu/attention/attention_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <typename T>
struct ForwardArguments {
  Heads<const T> q;
  KeyHeads<T> k, v;
  Heads<T> out;
  TensorDesc lse;
  AttentionScoring scoring;
  AttentionSizes sizes;
};

/// Sums of rows over keys, before division by the total: exponentials are relative to the row's largest score.
struct SoftmaxSums {
  float* out;     // [rows, columnStride(E)]
  float* maxima;  // [rows]
  float* totals;  // [rows]

  SoftmaxSums(Carver& carver, int64_t rows, int64_t E)
      : out(carver.take<float>(rows * columnStride(E))),
        maxima(carver.take<float>(rows)),
        totals(carver.take<float>(rows)) {}
};

// Matrix units read a block's keys and values for every 16 rows: 128 of 64 bfloat16 stay in the nearest cache.
constexpr int64_t kForwardKeys = MORA_MATRIX_UNITS ? 128 : 256;
constexpr int64_t kFewRows = 12;  // so few rows do not justify packing keys

template <class P>
struct ForwardBuffers {
  Unit *q, *k, *v, *kTransposed, *vPairs;
  float *scores, *laneSums;
  float* fewQueries;  // for decoding
  Range* visible;
  SoftmaxSums sums;

  ForwardBuffers(Carver carver, const AttentionSizes& sizes) : ForwardBuffers(&carver, sizes) {}
  static size_t bytes(const AttentionSizes& sizes) {
    Carver carver(nullptr);
    ForwardBuffers(&carver, sizes);
    return carver.used();
  }

 private:
  ForwardBuffers(Carver* carver, const AttentionSizes& sizes)
      : q(carver->take<Unit>(sizes.chunkRows * packedStride<P>(sizes.E))),
        k(carver->take<Unit>(sizes.blockKeys * packedStride<P>(sizes.E))),
        v(carver->take<Unit>(sizes.blockKeys * packedStride<P>(sizes.E))),
        kTransposed(carver->take<Unit>(sizes.blockKeys * packedStride<P>(sizes.E))),
        vPairs(carver->take<Unit>(kTerms<P> == 1 ? 0 : sizes.blockKeys / 2 * columnStride(sizes.E))),
        scores(carver->take<float>(kTileRows * sizes.blockKeys)),
        laneSums(carver->take<float>(sizes.chunkRows * kLanes)),
        fewQueries(carver->take<float>(kFewRows * columnStride(sizes.E))),
        visible(carver->take<Range>(sizes.chunkRows)),
        sums(*carver, sizes.chunkRows, sizes.E) {}
};

/// Divides by the totals and stores out, and lse if present. A row that sees no key gives 0 and -infinity.
template <typename T>
HWY_INLINE void finishRows(const ForwardArguments<T>& arguments, const QueryRows& rows, const SoftmaxSums& sums) {
  const TensorDesc& lse = arguments.lse;
  const int64_t E = arguments.sizes.E;
  rows.forEach([&](int64_t row, int64_t token, int64_t head) HWY_ATTR {
    const float total = sums.totals[row];
    storeRow(sums.out + row * columnStride(E), total == 0 ? 0.0f : 1.0f / total, E, arguments.out.at(token, head));
    if (present(lse)) {
      static_cast<float*>(lse.data)[head * lse.strides[0] + token * lse.strides[1]] =
          total == 0 ? -std::numeric_limits<float>::infinity()
                     : sums.maxima[row] * arguments.scoring.softmaxScale() + std::log(total);
    }
  });
}

template <class P>
HWY_INLINE void startSums(const QueryRows& rows, const ForwardBuffers<P>& buffers, const SoftmaxSums& sums, int64_t E) {
  rows.findVisible(buffers.visible);
  std::fill_n(sums.out, rows.padded() * columnStride(E), 0.0f);
  std::fill_n(sums.maxima, rows.padded(), -std::numeric_limits<float>::infinity());
  std::fill_n(buffers.laneSums, rows.padded() * kLanes, 0.0f);
}

template <class P>
HWY_INLINE void addLanes(const QueryRows& rows, const ForwardBuffers<P>& buffers, const SoftmaxSums& sums) {
  for (int64_t row = 0; row < rows.count(); ++row) {
    sums.totals[row] = hn::ReduceSum(FloatTag(), hn::LoadU(FloatTag(), buffers.laneSums + row * kLanes));
  }
}

/// Computes the sums of the task's rows over the task's keys.
template <class P, typename T>
void sumRows(const ForwardArguments<T>& arguments, const QueryRows& rows, const ForwardBuffers<P>& buffers,
             const SoftmaxSums& sums) {
  const auto& [E, group, chunkQueries, chunkRows, blockKeys] = arguments.sizes;
  const AttentionTask& task = rows.task;
  const int64_t stride = packedStride<P>(E), columns = columnStride(E), steps = stepsOf<P>(E);
  const float slope = arguments.scoring.softmaxScale() * kLog2E;
  packQueries<P>(rows, arguments.q, E, buffers.q);
  startSums(rows, buffers, sums, E);
  const Range keys = rows.seenKeys();
  for (int64_t begin = keys.begin; begin < keys.end; begin += blockKeys) {
    const Range block{begin, std::min(begin + blockKeys, keys.end)};
    const int64_t firstKey = task.document.firstKey + begin;
    packKeys<P>(arguments.k, firstKey, block.size(), task.kvHead, E, buffers.k);
    transposeUnits(buffers.k, stride, block.size(), steps, buffers.kTransposed, blockKeys);
    packKeys<P>(arguments.v, firstKey, block.size(), task.kvHead, E, buffers.v);
    const Unit* v = reducedRows<P>(buffers.v, roundUp(block.size(), kKeyMultiple), E, buffers.vPairs);

    for (int64_t row = 0; row < rows.count(); row += kTileRows) {
      const TileKeys seen(buffers.visible + row, block);
      if (seen.width == 0) continue;
      multiplyRows<P, Left::byRows, Start::zero>(buffers.q + row * stride, stride, buffers.kTransposed, blockKeys,
                                                 steps, buffers.scores, blockKeys, seen.width);
      prepareScores(buffers.scores, blockKeys, seen, arguments.scoring);
      float factors[kTileRows];
      const int64_t keySteps = stepsOf<P>(seen.width), weights = keySteps * kTerms<P>;
      softmaxTile<P>(buffers.scores, blockKeys, seen.visible, weights, slope, sums.maxima + row,
                     buffers.laneSums + row * kLanes, factors);
      const Unit* p = reinterpret_cast<const Unit*>(buffers.scores);
      multiplyRows<P, Left::byRows, Start::scaledResult>(p, blockKeys, v, columns, keySteps, sums.out + row * columns,
                                                         columns, E, factors);
    }
  }
  addLanes(rows, buffers, sums);
}

/// Adds the sums `part` of a split of the keys to `sums`.
HWY_INLINE void mergeSums(const SoftmaxSums& sums, const SoftmaxSums& part, int64_t rows, int64_t E, float scale) {
  const int64_t columns = columnStride(E);
  for (int64_t row = 0; row < rows; ++row) {
    if (part.totals[row] == 0) continue;
    const float larger = std::max(sums.maxima[row], part.maxima[row]);
    const float mine = std::exp((sums.maxima[row] - larger) * scale);
    const float other = std::exp((part.maxima[row] - larger) * scale);
    sums.maxima[row] = larger;
    sums.totals[row] = sums.totals[row] * mine + part.totals[row] * other;
    float* out = sums.out + row * columns;
    const float* added = part.out + row * columns;
    for (int64_t i = 0; i < columns; i += kLanes) {
      const FloatVector kept = hn::Mul(hn::LoadU(FloatTag(), out + i), broadcast(mine));
      hn::StoreU(hn::MulAdd(hn::LoadU(FloatTag(), added + i), broadcast(other), kept), FloatTag(), out + i);
    }
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
