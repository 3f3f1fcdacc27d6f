// The forward pass of attention for a task of a few rows, as in decoding with a cache: every key and value is read
// once, directly from its tensor, for all rows. Memory bandwidth is the limit, so products are plain f32.
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_ATTENTION_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_ATTENTION_DECODE_INL_H_
#undef MORA_CPU_ATTENTION_DECODE_INL_H_
#else
#define MORA_CPU_ATTENTION_DECODE_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "cpu/attention/attention_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// `count` keys or values of one head, E elements each.
template <typename T>
struct HeadRows {
  const KeyHeads<T>& from;
  int64_t first, head, count, E;

  const T* at(int64_t key) const { return from.at(first + key, head); }

  /// Prefetches elements [begin, end) of `rows` keys that are read some keys after `key`: those of one head have gaps,
  /// which hardware does not predict.
  HWY_INLINE void fetchAfter(int64_t key, int64_t rows, int64_t begin, int64_t end) const {
    constexpr int64_t kAhead = 16, kLine = 64 / sizeof(T);
    for (int64_t row = key + kAhead; row < std::min(key + kAhead + rows, count); ++row)
      for (int64_t i = begin; i < end; i += kLine) hwy::Prefetch(at(row) + i);
  }
};

using FourTag = hn::CappedTag<float, 4>;

/// Sums the 4-lane blocks of a vector, lane by lane.
template <class D>
HWY_INLINE hn::Vec<FourTag> foldLanes(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(d) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return foldLanes(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// Sums the lanes of each of 4 vectors, in a third of the instructions of 4 separate sums.
HWY_INLINE hn::Vec<FourTag> sumEach(const FloatVector (&v)[4]) {
  const FloatTag d;
  const hn::Repartition<double, FloatTag> pairs;
  const auto addNeighbours = [&](FloatVector a, FloatVector b) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto first = addNeighbours(v[0], v[1]), second = addNeighbours(v[2], v[3]);
  return foldLanes(d, hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, first, second)),
                              hn::BitCast(d, hn::InterleaveUpper(pairs, first, second))));
}

/// result [kRows, keys] = q [kRows, E] keys^T; rows of q are padded with zeros to whole vectors.
template <int kRows, typename T>
HWY_INLINE void dotKeys(const float* HWY_RESTRICT q, int64_t qStride, const HeadRows<T>& keys,
                        float* HWY_RESTRICT result, int64_t resultStride) {
  int64_t key = 0;
  for (; key + 4 <= keys.count; key += 4) {
    FloatVector sums[kRows][4];
    for (auto& row : sums)
      for (FloatVector& sum : row) sum = hn::Zero(FloatTag());
    const T* const four[4] = {keys.at(key), keys.at(key + 1), keys.at(key + 2), keys.at(key + 3)};
    keys.fetchAfter(key, 4, 0, keys.E);
    forVectors(keys.E, [&](int64_t i, auto part) HWY_ATTR {
      FloatVector k[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) k[j] = load(four[j] + i, part);
#pragma GCC unroll 3
      for (int row = 0; row < kRows; ++row) {
        const FloatVector values = hn::LoadU(FloatTag(), q + row * qStride + i);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) sums[row][j] = hn::MulAdd(values, k[j], sums[row][j]);
      }
    });
#pragma GCC unroll 3
    for (int row = 0; row < kRows; ++row) hn::StoreU(sumEach(sums[row]), FourTag(), result + row * resultStride + key);
  }
  for (; key < keys.count; ++key) {
    const T* const elements = keys.at(key);
    for (int row = 0; row < kRows; ++row) {
      FloatVector sum = hn::Zero(FloatTag());
      forVectors(keys.E, [&](int64_t i, auto part) HWY_ATTR {
        sum = hn::MulAdd(hn::LoadU(FloatTag(), q + row * qStride + i), load(elements + i, part), sum);
      });
      result[row * resultStride + key] = hn::ReduceSum(FloatTag(), sum);
    }
  }
}

/// kVectors vectors of out [kRows, E] from `column`, times factors [kRows], plus p [kRows, values] values.
template <int kRows, int kVectors, typename T, class Part>
HWY_INLINE void addValueColumns(const float* HWY_RESTRICT p, int64_t pStride, const HeadRows<T>& values, int64_t column,
                                Part part, const float* factors, float* HWY_RESTRICT out, int64_t outStride) {
  FloatVector sums[kRows][kVectors];
#pragma GCC unroll 3
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const float* start = out + row * outStride + column + i * kLanes;
      sums[row][i] = hn::Mul(hn::LoadU(FloatTag(), start), broadcast(factors[row]));
    }
  }
  for (int64_t key = 0; key < values.count; ++key) {
    const T* const elements = values.at(key) + column;
    values.fetchAfter(key, 1, column, std::min(column + kVectors * kLanes, values.E));
    FloatVector v[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) v[i] = load(elements + i * kLanes, part);
#pragma GCC unroll 3
    for (int row = 0; row < kRows; ++row) {
      const FloatVector weight = broadcast(p[row * pStride + key]);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) sums[row][i] = hn::MulAdd(weight, v[i], sums[row][i]);
    }
  }
#pragma GCC unroll 3
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      hn::StoreU(sums[row][i], FloatTag(), out + row * outStride + column + i * kLanes);
    }
  }
}

/// out [kRows, E] = factors out + p values
template <int kRows, typename T>
HWY_INLINE void addValues(const float* p, int64_t pStride, const HeadRows<T>& values, const float* factors, float* out,
                          int64_t outStride) {
  int64_t column = 0;
  for (; column + kPanel <= values.E; column += kPanel) {
    addValueColumns<kRows, kTileVectors>(p, pStride, values, column, WholeVector{}, factors, out, outStride);
  }
  forVectors(values.E - column, [&](int64_t i, auto part) HWY_ATTR {
    addValueColumns<kRows, 1>(p, pStride, values, column + i, part, factors, out, outStride);
  });
}

/// Calls body(row, rows as a constant) for up to 3 rows at a time.
template <class Body>
HWY_INLINE void byThrees(int64_t rows, Body&& body) {
  int64_t row = 0;
  for (; row + 3 <= rows; row += 3) body(row, std::integral_constant<int, 3>());
  if (rows - row == 2) body(row, std::integral_constant<int, 2>());
  if (rows - row == 1) body(row, std::integral_constant<int, 1>());
}

/// The sums of the task's rows, at most kFewRows, over the task's keys.
template <class P, typename T>
void sumFewRows(const ForwardArguments<T>& arguments, const QueryRows& rows, const ForwardBuffers<P>& buffers,
                const SoftmaxSums& sums) {
  const int64_t E = arguments.sizes.E, blockKeys = arguments.sizes.blockKeys, columns = columnStride(E);
  const AttentionTask& task = rows.task;
  const float slope = arguments.scoring.softmaxScale() * kLog2E;
  startSums(rows, buffers, sums, E);
  rows.forEach([&](int64_t row, int64_t token, int64_t head) HWY_ATTR {
    packRow<float>(arguments.q.at(token, head), E, reinterpret_cast<Unit*>(buffers.fewQueries + row * columns));
  });
  const Range keys = rows.seenKeys();
  for (int64_t begin = keys.begin; begin < keys.end; begin += blockKeys) {
    const Range block{begin, std::min(begin + blockKeys, keys.end)};
    const int64_t firstKey = task.document.firstKey + begin;
    for (int64_t tile = 0; tile < rows.count(); tile += kTileRows) {
      const TileKeys seen(buffers.visible + tile, block);
      if (seen.width == 0) continue;
      const int64_t count = std::min(kTileRows, rows.count() - tile);
      const HeadRows<T> k{arguments.k, firstKey, task.kvHead, seen.width, E};
      const HeadRows<T> v{arguments.v, firstKey, task.kvHead, seen.width, E};
      float factors[kTileRows];
      byThrees(count, [&](int64_t row, auto three) HWY_ATTR {
        dotKeys<decltype(three)::value>(buffers.fewQueries + (tile + row) * columns, columns, k,
                                        buffers.scores + row * blockKeys, blockKeys);
      });
      prepareScores(buffers.scores, blockKeys, seen, arguments.scoring);
      softmaxTile<float>(buffers.scores, blockKeys, seen.visible, seen.width, slope, sums.maxima + tile,
                         buffers.laneSums + tile * kLanes, factors);
      byThrees(count, [&](int64_t row, auto three) HWY_ATTR {
        addValues<decltype(three)::value>(buffers.scores + row * blockKeys, blockKeys, v, factors + row,
                                          sums.out + (tile + row) * columns, columns);
      });
    }
  }
  addLanes(rows, buffers, sums);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
