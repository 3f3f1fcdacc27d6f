// Sums over groups of columns, their transpose, and merging: the sharing operators of MoRA (mora/geometry.h).
#include <algorithm>
#include <cstring>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/mora/merge_ranges.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/mora/mora_groups.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

HWY_INLINE int64_t vectorLanes() { return static_cast<int64_t>(hn::Lanes(FloatTag())); }

/// Calls segment(group, count) for the padding that `wrap` adds: real columns [0, count) belong to groups [group, group
/// + count), too.
template <typename Segment>
void forWrapped(const Grouping& grouping, Segment&& segment) {
  if (grouping.extent() == grouping.width) return;
  for (int64_t group = grouping.width % grouping.side; group < grouping.side; group += grouping.width)
    segment(group, std::min(grouping.width, grouping.side - group));
}

/// Neighbouring groups of `runs` of equal length.
struct EqualRuns {
  int64_t group, start, length, count;
};

/// Calls visit(EqualRuns) for the longer groups, then for the shorter ones.
template <typename Visit>
HWY_INLINE void forRuns(const Grouping& grouping, Visit&& visit) {
  const int64_t shorter = grouping.width / grouping.side, longer = grouping.width % grouping.side;
  visit(EqualRuns{0, 0, shorter + 1, longer});
  if (shorter > 0) visit(EqualRuns{longer, grouping.runStart(longer), shorter, grouping.side - longer});
}

/// sums[g] += the columns of group g
template <typename T>
void sumTiles(const Grouping& grouping, const T* x, float* sums) {
  const int64_t side = grouping.side, tiles = grouping.width / side;
  forVectors(side, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector sum = load(sums + i, part);
    for (int64_t tile = 0; tile < tiles; ++tile) sum = hn::Add(sum, load(x + tile * side + i, part));
    store(sum, sums + i, part);
  });
  addTo(sums, x + tiles * side, grouping.width % side);
  forWrapped(grouping, [&](int64_t group, int64_t count) HWY_ATTR { addTo(sums + group, x, count); });
}

HWY_INLINE float sumRun(const float* x, int64_t count) {
  if (count < vectorLanes()) {
    float sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += x[i];
    return sum;
  }
  FloatVector sum = broadcast(0.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR { sum = hn::Add(sum, load(x + i, part)); });
  return hn::ReduceSum(FloatTag(), sum);
}

/// Sums groups of 2, 3 or 4 columns, one group per lane.
HWY_INLINE FloatVector sumShortRuns(const float* x, int64_t length) {
  const FloatTag tag;
  FloatVector a, b, c, d;
  if (length == 2) {
    hn::LoadInterleaved2(tag, x, a, b);
    return hn::Add(a, b);
  }
  if (length == 3) {
    hn::LoadInterleaved3(tag, x, a, b, c);
    return hn::Add(hn::Add(a, b), c);
  }
  hn::LoadInterleaved4(tag, x, a, b, c, d);
  return hn::Add(hn::Add(a, b), hn::Add(c, d));
}

void sumRuns(const Grouping& grouping, const float* x, float* sums) {
  forRuns(grouping, [&](const EqualRuns& runs) HWY_ATTR {
    const float* const from = x + runs.start;
    float* const to = sums + runs.group;
    if (runs.length == 1) return addTo(to, from, runs.count);
    int64_t group = 0;
    if (runs.length <= 4) {
      for (; group + vectorLanes() <= runs.count; group += vectorLanes()) {
        const FloatVector added = sumShortRuns(from + group * runs.length, runs.length);
        store(hn::Add(load(to + group, WholeVector()), added), to + group, WholeVector());
      }
    }
    for (; group < runs.count; ++group) to[group] += sumRun(from + group * runs.length, runs.length);
  });
}

/// Repeats each lane 2, 3 or 4 times in a row.
HWY_INLINE void spreadShortRuns(FloatVector v, int64_t length, float* to) {
  const FloatTag tag;
  if (length == 2) return hn::StoreInterleaved2(v, v, tag, to);
  if (length == 3) return hn::StoreInterleaved3(v, v, v, tag, to);
  hn::StoreInterleaved4(v, v, v, v, tag, to);
}

/// columns[c] = the sum of z over the groups of column c; `columns` has room for one more vector than width.
void spreadRow(const Grouping& grouping, const float* z, float* columns) {
  const int64_t side = grouping.side, width = grouping.width;
  if (grouping.kind == GroupKind::tile) {
    for (int64_t start = 0; start < width; start += side)
      std::memcpy(columns + start, z, static_cast<size_t>(std::min(side, width - start)) * sizeof(float));
    forWrapped(grouping, [&](int64_t group, int64_t count) HWY_ATTR { addTo(columns, z + group, count); });
    return;
  }
  forRuns(grouping, [&](const EqualRuns& runs) HWY_ATTR {
    const float* const from = z + runs.group;
    float* const to = columns + runs.start;
    if (runs.length == 1) {
      std::memcpy(to, from, static_cast<size_t>(runs.count) * sizeof(float));
      return;
    }
    int64_t group = 0;
    if (runs.length <= 4) {
      for (; group + vectorLanes() <= runs.count; group += vectorLanes())
        spreadShortRuns(load(from + group, WholeVector()), runs.length, to + group * runs.length);
    }
    for (; group < runs.count; ++group) {
      // Whole vectors: the next group overwrites columns past the end, or they are in the extra room.
      const FloatVector value = broadcast(from[group]);
      float* const run = to + group * runs.length;
      for (int64_t c = 0; c < runs.length; c += vectorLanes()) hn::StoreU(value, FloatTag(), run + c);
    }
  });
}

/// Two f32 rows of scratch memory.
struct Buffers {
  float *narrow, *wide;

  Buffers(Scratch& scratch, const Grouping& grouping) {
    const int64_t room = vectorLanes();
    narrow = scratch.take<float>(grouping.side + room);
    wide = scratch.take<float>(grouping.width + room);
  }
};

/// Whether tiles are simple: at least one is complete, and padding repeats the start of x at most once.
bool hasSimpleTiles(const Grouping& grouping) {
  return grouping.kind == GroupKind::tile && grouping.width >= grouping.side &&
         grouping.extent() - grouping.width <= grouping.width;
}

/// sums [side] (+)= the columns of each group, for simple tiles.
template <typename S, typename T>
void sumTileRow(const Grouping& grouping, const S* x, T* sums, bool accumulate) {
  const int64_t side = grouping.side, tiles = grouping.width / side, rest = grouping.width % side;
  const auto sum = [&](int64_t from, int64_t to, int64_t terms, const S* wrapped) HWY_ATTR {
    forVectors(to - from, [&](int64_t i, auto part) HWY_ATTR {
      FloatVector v = load(x + from + i, part);
      for (int64_t tile = 1; tile < terms; ++tile) v = hn::Add(v, load(x + tile * side + from + i, part));
      if (wrapped) v = hn::Add(v, load(wrapped + i, part));
      if (accumulate) v = hn::Add(load(sums + from + i, part), v);
      store(v, sums + from + i, part);
    });
  };
  sum(0, rest, tiles + 1, nullptr);
  sum(rest, side, tiles, grouping.wrap && rest > 0 ? x : nullptr);
}

/// y [width] (+)= the values of each column's groups, for simple tiles.
template <typename T>
void spreadTileRow(const Grouping& grouping, const T* z, T* y, bool accumulate) {
  const int64_t side = grouping.side, width = grouping.width;
  const int64_t padding = grouping.extent() - width;
  const auto spread = [&](int64_t column, const T* from, int64_t count, const T* wrapped) HWY_ATTR {
    T* const to = y + column;
    if (!accumulate && !wrapped) {
      if (count > 0) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
      return;
    }
    forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
      FloatVector v = load(from + i, part);
      if (wrapped) v = hn::Add(v, load(wrapped + i, part));
      if (accumulate) v = hn::Add(v, load(to + i, part));
      store(v, to + i, part);
    });
  };
  spread(0, z, padding, z + width % side);
  spread(padding, z + padding, side - padding, nullptr);
  for (int64_t start = side; start < width; start += side) spread(start, z, std::min(side, width - start), nullptr);
}

void SumGroupRows(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target, bool accumulate,
                  int64_t begin, int64_t end) {
  Scratch scratch;
  const Buffers buffers(scratch, grouping);
  const bool simple = hasSimpleTiles(grouping);
  withFloatType(source.dtype, "groupSum", [&](auto from) HWY_ATTR {
    const auto sumInto = [&](auto to) HWY_ATTR {
      for (int64_t row = begin; row < end; ++row) {
        const auto* const x = rowOf<const decltype(from)>(source, row);
        auto* const sums = rowOf<decltype(to)>(target, row);
        if (simple) {
          sumTileRow(grouping, x, sums, accumulate);
          continue;
        }
        if (accumulate)
          convert(sums, buffers.narrow, grouping.side);
        else
          std::fill_n(buffers.narrow, grouping.side, 0.0f);
        if (grouping.kind == GroupKind::tile) {
          sumTiles(grouping, x, buffers.narrow);
        } else {
          convert(x, buffers.wide, grouping.width);
          sumRuns(grouping, buffers.wide, buffers.narrow);
        }
        convert(buffers.narrow, sums, grouping.side);
      }
    };
    if (target.dtype == source.dtype)
      sumInto(from);
    else
      sumInto(float{});
  });
}

void SpreadGroupRows(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target, bool accumulate,
                     int64_t begin, int64_t end) {
  Scratch scratch;
  const Buffers buffers(scratch, grouping);
  const bool simple = hasSimpleTiles(grouping);
  withFloatType(source.dtype, "groupSpread", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      auto* const y = rowOf<T>(target, row);
      if (simple) {
        spreadTileRow(grouping, rowOf<const T>(source, row), y, accumulate);
        continue;
      }
      convert(rowOf<const T>(source, row), buffers.narrow, grouping.side);
      spreadRow(grouping, buffers.narrow, buffers.wide);
      forVectors(grouping.width, [&](int64_t i, auto part) HWY_ATTR {
        FloatVector v = load(buffers.wide + i, part);
        if (accumulate) v = hn::Add(v, load(y + i, part));
        store(v, y + i, part);
      });
    }
  });
}

int64_t MergeGroupRows(const Grouping& input, const Grouping& output, const TensorDesc& matrix, float scale,
                       const TensorDesc& weight, int64_t begin, int64_t end) {
  Scratch scratch;
  const Buffers buffers(scratch, input);
  int64_t nonFinite = 0;
  withFloatType(weight.dtype, "mergeGroups", [&](auto type) HWY_ATTR {
    int64_t spread = -1;  // the group whose row of the matrix was last spread
    for (int64_t row = begin; row < end; ++row) {
      const int64_t group = output.groupOf(row);
      if (group != spread) spreadRow(input, rowOf<const float>(matrix, group), buffers.wide);
      spread = group;
      nonFinite += mergeInto(buffers.wide, scale, rowOf<decltype(type)>(weight, row), input.width);
    }
  });
  return nonFinite;
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SumGroupRows);
HWY_EXPORT(SpreadGroupRows);
HWY_EXPORT(MergeGroupRows);

void groupSum(Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate) {
  parallelRanges(source.shape[0], grouping.width, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SumGroupRows)(grouping, source, target, accumulate, begin, end);
  });
}

void groupSpread(Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate) {
  parallelRanges(source.shape[0], grouping.width, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SpreadGroupRows)(grouping, source, target, accumulate, begin, end);
  });
}

void mergeGroups(Grouping input, Grouping output, TensorDesc matrix, float scale, TensorDesc weight,
                 TensorDesc nonFinite) {
  mergeRanges(weight.shape[0], input.width, nonFinite, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(MergeGroupRows)(input, output, matrix, scale, weight, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
