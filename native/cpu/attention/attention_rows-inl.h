// Reads and writes rows of attention's tensors: packed for the products, and as f32 accumulators.
//
// The rows of a range of queries are those of all query heads of one key-value head, position by position:
// row = (query - first query) * group + head of the group. All of them see the same keys.
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_ATTENTION_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_ATTENTION_ROWS_INL_H_
#undef MORA_CPU_ATTENTION_ROWS_INL_H_
#else
#define MORA_CPU_ATTENTION_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include "cpu/attention/attention_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Sizes of one call, the same for every task.
struct AttentionSizes {
  int64_t E, group;      // head size, query heads per key-value head
  int64_t chunkQueries;  // queries that share one packing of the keys
  int64_t chunkRows;     // their rows, rounded up to whole tiles
  int64_t blockKeys;     // keys of a block; a block of K and V stays in the nearest caches
};

/// @param mostKeys the largest number of keys of a block
template <class P>
AttentionSizes attentionSizes(int64_t E, int64_t group, int64_t mostKeys) {
  constexpr int64_t kChunkRows = 384, kBlockUnits = 8192;
  const int64_t queries = std::max<int64_t>(1, kChunkRows / std::max<int64_t>(1, group));
  const int64_t keys = kBlockUnits / std::max<int64_t>(1, packedStride<P>(E)) / kPanel * kPanel;
  return {E, group, queries, roundUp(queries * group, kRowMultiple), std::clamp(keys, kPanel, mostKeys)};
}

/// The rows of a range of queries of one document and one key-value head.
struct QueryRows {
  const AttentionTask& task;
  Range queries;
  int64_t group;

  int64_t count() const { return queries.size() * group; }
  int64_t padded() const { return roundUp(count(), kRowMultiple); }

  /// Calls body(row, row of the tensor, head) for every row.
  template <class Body>
  HWY_INLINE void forEach(Body&& body) const {
    int64_t row = 0;
    for (int64_t query = queries.begin; query < queries.end; ++query) {
      for (int64_t i = 0; i < group; ++i) body(row++, task.document.firstQuery + query, task.kvHead * group + i);
    }
  }

  /// visible [padded] = the range of the document's keys that each row sees.
  void findVisible(Range* visible) const {
    int64_t row = 0;
    for (int64_t query = queries.begin; query < queries.end; ++query) {
      const Range seen{task.document.firstVisible(query), task.document.visibleKeys(query)};
      for (int64_t i = 0; i < group; ++i) visible[row++] = seen;
    }
    while (row < padded()) visible[row++] = {0, 0};
  }

  /// The range of the task's keys that at least one row sees.
  Range seenKeys() const {
    const Document& document = task.document;
    return {std::max(task.keys.begin, document.firstVisible(queries.begin)),
            std::min(task.keys.end, document.visibleKeys(queries.end - 1))};
  }
};

/// The keys of a block that each row of a tile sees: from `hidden` to `visible`; no row sees more than `width`.
struct TileKeys {
  int64_t visible[kTileRows], hidden[kTileRows], width = 0;
  bool someHidden = false;

  TileKeys(const Range* seen, Range block) {
    for (int64_t i = 0; i < kTileRows; ++i) {
      visible[i] = std::clamp<int64_t>(seen[i].end - block.begin, 0, block.size());
      hidden[i] = std::max<int64_t>(seen[i].begin - block.begin, 0);
      if (hidden[i] >= visible[i]) visible[i] = hidden[i] = 0;
      width = std::max(width, visible[i]);
      someHidden = someHidden || hidden[i] > 0;
    }
  }
};

/// Packs the rows along E, with rows of zeros to fill the last tile.
template <class P, typename T>
HWY_INLINE void packQueries(const QueryRows& rows, const Heads<const T>& from, int64_t E, Unit* to) {
  const int64_t stride = packedStride<P>(E);
  rows.forEach([&](int64_t row, int64_t token, int64_t head)
                   HWY_ATTR { packRow<P>(from.at(token, head), E, to + row * stride); });
  clearRows(to + rows.count() * stride, rows.padded() - rows.count(), stride);
}

/// Packs `count` rows of one head along E, with rows of zeros up to a multiple of kKeyMultiple.
template <class P, typename T>
HWY_INLINE void packKeys(const KeyHeads<T>& from, int64_t first, int64_t count, int64_t head, int64_t E, Unit* to) {
  const int64_t stride = packedStride<P>(E);
  for (int64_t i = 0; i < count; ++i) packRow<P>(from.at(first + i, head), E, to + i * stride);
  clearRows(to + count * stride, roundUp(count, kKeyMultiple) - count, stride);
}

/// Turns rows of packRow into the right operand of a reduction over rows: unchanged for f32, pairs of rows for bf16.
template <class P>
HWY_INLINE const Unit* reducedRows(const Unit* rows, int64_t count, int64_t E, Unit* pairs) {
  if constexpr (kTerms<P> == 1) return rows;
  pairRows(rows, packedStride<P>(E), count, columnStride(E), pairs, columnStride(E));
  return pairs;
}

/// Stores a row of f32 accumulators times `factor`.
template <typename T>
HWY_INLINE void storeRow(const float* from, float factor, int64_t E, T* to) {
  forVectors(E, [&](int64_t i, auto part)
                    HWY_ATTR { store(hn::Mul(hn::LoadU(FloatTag(), from + i), broadcast(factor)), to + i, part); });
}

template <typename T>
HWY_INLINE float dotRow(const T* a, const T* b, int64_t E) {
  FloatVector sum = hn::Zero(FloatTag());
  forVectors(E, [&](int64_t i, auto part) HWY_ATTR { sum = hn::MulAdd(load(a + i, part), load(b + i, part), sum); });
  return hn::ReduceSum(FloatTag(), sum);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
