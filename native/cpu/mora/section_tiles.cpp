#include "cpu/mora/section_tiles.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/float_types.h"
#include "cpu/mora/section_runs.h"
#include "cpu/parallel.h"
#include "cpu/prefetch.h"
#include "cpu/products/matrix_units.h"
#include "cpu/products/panel_order.h"
#include "cpu/scratch.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/mora/section_tiles.cpp"
#include <hwy/foreach_target.h>

#include "cpu/products/matrix_units-inl.h"
#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

#if MORA_MATRIX_UNITS

constexpr bool kHasTiles = true;
constexpr int64_t kChunk = 256;  // columns of results that are summed before they are written
using Shorts = hn::FixedTag<uint16_t, kTileDepth>;

/// A section's vector in a row: the row itself, or its runs one after the other in `line`.
HWY_INLINE const uint16_t* entriesOf(const uint16_t* row, const Runs& runs, uint16_t* line) {
  if (runs.size() == 1) return row + runs[0].column;
  for (const Run& run : runs)
    std::memcpy(line + run.at, row + run.column, static_cast<size_t>(run.count) * sizeof(*row));
  return line;
}

HWY_INLINE void prefetchRow(const uint16_t* row, const Runs& runs) {
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; i += kTileDepth) hwy::Prefetch(row + run.column + i);
}

HWY_INLINE void prefetchForWriting(const uint16_t* row, const Runs& runs) {
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; i += kTileDepth) __builtin_prefetch(row + run.column + i, 1);
}

/// left [steps, 2, 16, 32] = the section's vectors of `count` rows, with zeros after the last entry.
void gatherRows(const TensorDesc& from, const Section& section, int64_t row, int64_t count, uint16_t* line,
                uint16_t* left) {
  const Shorts tag;
  const int64_t whole = section.depth / kTileDepth, rest = section.depth % kTileDepth;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t* const source = rowOf<const uint16_t>(from, row + i);
    const uint16_t* const entries = entriesOf(source, section.reads, line);
    uint16_t* to = left + i * kTileDepth;
    for (int64_t step = 0; step < whole; ++step, to += 2 * kTileValues)
      hn::Store(hn::LoadU(tag, entries + step * kTileDepth), tag, to);
    if (rest > 0) hn::Store(hn::LoadN(tag, entries + whole * kTileDepth, static_cast<size_t>(rest)), tag, to);
    if (row + i + kBlockRows < from.shape[0]) prefetchRow(source + kBlockRows * from.strides[0], section.reads);
  }
}

/// sums [32, 16 kColumns] = left [steps, 2, 16, 32] right, tiles [kColumns, steps, 16, 16, 2]
template <int kColumns>
HWY_INLINE void multiplyTiles(const uint16_t* left, const uint16_t* right, int64_t steps, float* sums,
                              int64_t stride) {
  clearMatrix<0>();
  clearMatrix<1>();
  if constexpr (kColumns > 1) {
    clearMatrix<2>();
    clearMatrix<3>();
  }
  for (int64_t step = 0; step < steps; ++step) {
    loadMatrix<4>(left + 2 * step * kTileValues, kTileSide);
    loadMatrix<5>(left + (2 * step + 1) * kTileValues, kTileSide);
    loadMatrix<6>(right + step * kTileValues, kTileSide);
    addProduct<0, 4, 6>();
    addProduct<1, 5, 6>();
    if constexpr (kColumns > 1) {
      loadMatrix<7>(right + (steps + step) * kTileValues, kTileSide);
      addProduct<2, 4, 7>();
      addProduct<3, 5, 7>();
    }
  }
  storeMatrix<0>(sums, stride);
  storeMatrix<1>(sums + kTileSide * stride, stride);
  if constexpr (kColumns > 1) {
    storeMatrix<2>(sums + kTileSide, stride);
    storeMatrix<3>(sums + kTileSide * stride + kTileSide, stride);
  }
}

/// to [0, count) (+)= sums, rounded once.
template <bool kAdd>
HWY_INLINE void writeRun(const float* sums, hwy::bfloat16_t* to, int64_t count) {
  const FloatTag tag;
  const hn::Repartition<hwy::bfloat16_t, FloatTag> both;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag));
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    FloatVector low = hn::LoadU(tag, sums + i), high = hn::LoadU(tag, sums + i + lanes);
    if constexpr (kAdd) {
      low = hn::Add(low, load(to + i, WholeVector()));
      high = hn::Add(high, load(to + i + lanes, WholeVector()));
    }
    hn::StoreU(hn::OrderedDemote2To(both, low, high), both, to + i);
  }
  forVectors(count - i, [&](int64_t j, auto part) HWY_ATTR {
    FloatVector sum = load(sums + i + j, part);
    if constexpr (kAdd) sum = hn::Add(sum, load(to + i + j, part));
    store(sum, to + i + j, part);
  });
}

/// Rows [begin, end) times one section.
void multiplySection(const SectionProducts& products, const Section& section, int64_t begin, int64_t end,
                     uint16_t* line, uint16_t* left, float* sums) {
  constexpr int64_t kStride = kChunk + kTileSide;
  const int64_t tiles = tilesOf(section.width, kTileSide), steps = section.steps();
  for (int64_t row = begin; row < end; row += kBlockRows) {
    const int64_t count = std::min(kBlockRows, end - row);
    for (int64_t i = 0; i < count; ++i) prefetchForWriting(rowOf<uint16_t>(products.to, row + i), section.writes);
    gatherRows(products.from, section, row, count, line, left);
    for (int64_t first = 0; first < section.width; first += kChunk) {
      const int64_t beyond = std::min(tiles * kTileSide, first + kChunk);
      for (int64_t column = first; column < beyond; column += 2 * kTileSide) {
        const uint16_t* const right = section.right + column / kTileSide * steps * kTileValues;
        if (column + kTileSide < beyond)
          multiplyTiles<2>(left, right, steps, sums + column - first, kStride);
        else
          multiplyTiles<1>(left, right, steps, sums + column - first, kStride);
      }
      for (const Run& run : section.writes) {
        const int64_t at = std::max(run.at, first), length = std::min(run.at + run.count, beyond) - at;
        const bool adds = products.accumulate || run.adds;
        for (int64_t i = 0; i < count && length > 0; ++i) {
          const float* const values = sums + i * kStride + at - first;
          auto* const to = rowOf<hwy::bfloat16_t>(products.to, row + i) + run.column + at - run.at;
          if (adds)
            writeRun<true>(values, to, length);
          else
            writeRun<false>(values, to, length);
        }
      }
    }
  }
}

void MultiplyRows(const SectionProducts& products, int64_t begin, int64_t end) {
  const MatrixUnits<hwy::bfloat16_t> units;
  int64_t depth = 0;
  for (const Section& section : products.sections) depth = std::max(depth, section.steps() * kTileDepth);
  Scratch scratch;
  auto* const line = scratch.take<uint16_t>(depth);
  auto* const left = scratch.take<uint16_t>(depth * kBlockRows);
  auto* const sums = scratch.take<float>(kBlockRows * (kChunk + kTileSide));
  const int64_t columns = products.to.shape[1];
  for (int64_t row = begin; row < end; row += products.together) {
    const int64_t last = std::min(end, row + products.together);
    for (const Section& section : products.sections) multiplySection(products, section, row, last, line, left, sums);
    for (int64_t i = row; i < last && products.written < columns && !products.accumulate; ++i)
      std::memset(rowOf<uint16_t>(products.to, i) + products.written, 0,
                  static_cast<size_t>(columns - products.written) * sizeof(uint16_t));
  }
}

#else

constexpr bool kHasTiles = false;

void MultiplyRows(const SectionProducts&, int64_t, int64_t) { unsupported("sections by matrix units"); }

#endif

bool HasTiles() { return kHasTiles; }

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(HasTiles);
HWY_EXPORT(MultiplyRows);

namespace {

/// Packs the sections' matrices and multiplies.
void multiplySections(SectionProducts products, const TensorDesc& folded, bool transposed) {
  const int64_t R = folded.shape[1], T = products.from.shape[0];
  Scratch scratch;
  int64_t values = 0;
  for (const Section& section : products.sections) values += section.tiles() * kTileValues;
  auto* right = scratch.take<uint16_t>(values);
  for (Section& section : products.sections) {
    section.right = right;
    right += section.tiles() * kTileValues;
  }
  shareItems(static_cast<int64_t>(products.sections.size()), [&](int64_t i, int) {
    const Section& section = products.sections[static_cast<size_t>(i)];
    const uint16_t* const matrix = static_cast<const uint16_t*>(folded.data) + i * R * R;
    const int64_t rowStride = transposed ? R : 1, columnStride = transposed ? 1 : R;
    packPairs({matrix, section.depth, section.width, rowStride, columnStride}, kTileSide, section.right);
  });
  // Matrices that leave no room for anything else in the second cache are read once for many rows.
  constexpr int64_t kCached = 1 << 20, kMany = 256;
  products.together = values * 2 <= kCached ? kBlockRows : kMany;
  parallelRanges(
      T, products.from.shape[1] + products.to.shape[1],
      [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(MultiplyRows)(products, begin, end); }, products.together);
}

}  // namespace

bool multipliesSectionTiles(const TensorDesc& from, const TensorDesc& to) {
  constexpr int64_t kLeastRows = 16;
  static const bool has = HWY_DYNAMIC_DISPATCH(HasTiles)() && hasMatrixUnits();
  return has && from.dtype == DType::bf16 && to.dtype == DType::bf16 && from.shape[0] >= kLeastRows;
}

void multiplySectionTiles(const SectionPlan& plan, const TensorDesc& x, const TensorDesc& folded, const TensorDesc& y,
                          bool accumulate) {
  SectionProducts products{x, y, {}, plan.truncate ? std::min(plan.side, plan.outFeatures) : plan.outFeatures,
                           accumulate, 0};
  for (int64_t b = 0; b < plan.liveSections(); ++b) {
    products.sections.emplace_back(inputRuns(plan, b), repeatedRuns(plan, b));
  }
  multiplySections(std::move(products), folded, false);
}

void multiplySectionTilesTransposed(const SectionPlan& plan, const TensorDesc& gradient, const TensorDesc& folded,
                                    const TensorDesc& dX, bool accumulate) {
  SectionProducts products{gradient, dX, {}, std::min(plan.liveSections() * plan.side, plan.inFeatures), accumulate, 0};
  for (int64_t b = 0; b < plan.liveSections(); ++b) {
    products.sections.emplace_back(outputRuns(plan, b), inputRuns(plan, b));
  }
  multiplySections(std::move(products), folded, true);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
