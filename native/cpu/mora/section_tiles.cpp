#include "cpu/mora/section_tiles.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

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
#include "cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

#if MORA_MATRIX_UNITS

constexpr bool kHasTiles = true;
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

/// left [steps, 2, 16, 32] of each part = the vectors of `count` rows, with zeros after the last entry.
void gatherRows(const TensorDesc& from, const SectionGroup& group, int64_t row, int64_t count, uint16_t* line,
                uint16_t* left) {
  const Shorts tag;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t* const source = rowOf<const uint16_t>(from, row + i);
    for (const SectionPart& part : group.parts) {
      const int64_t whole = part.depth / kTileDepth, rest = part.depth % kTileDepth;
      const uint16_t* const entries = entriesOf(source, part.reads, line);
      uint16_t* to = left + part.left * kBlockRows + i * kTileDepth;
      for (int64_t step = 0; step < whole; ++step, to += 2 * kTileValues)
        hn::Store(hn::LoadU(tag, entries + step * kTileDepth), tag, to);
      if (rest > 0) hn::Store(hn::LoadN(tag, entries + whole * kTileDepth, static_cast<size_t>(rest)), tag, to);
    }
  }
}

/// sums [16 kRows, 16 kColumns] (+)= left, tiles [steps, 2, 16, 32], times right, tiles [kColumns, steps, 16, 16, 2].
template <int kRows, int kColumns, bool kAdd>
HWY_INLINE void multiplyTiles(const uint16_t* left, const uint16_t* right, int64_t steps, float* sums, int64_t stride) {
  const auto forEach = [&](auto&& body) HWY_ATTR {
    body(std::integral_constant<int, 0>(), sums);
    if constexpr (kRows > 1) body(std::integral_constant<int, 1>(), sums + kTileSide * stride);
    if constexpr (kColumns > 1) body(std::integral_constant<int, 2>(), sums + kTileSide);
    if constexpr (kRows > 1 && kColumns > 1)
      body(std::integral_constant<int, 3>(), sums + kTileSide * stride + kTileSide);
  };
  forEach([&](auto sum, float* from) HWY_ATTR {
    if constexpr (kAdd)
      loadMatrix<sum>(from, stride);
    else
      clearMatrix<sum>();
  });
  for (int64_t step = 0; step < steps; ++step) {
    loadMatrix<4>(left + 2 * step * kTileValues, kTileSide);
    loadMatrix<6>(right + step * kTileValues, kTileSide);
    addProduct<0, 4, 6>();
    if constexpr (kRows > 1) {
      loadMatrix<5>(left + (2 * step + 1) * kTileValues, kTileSide);
      addProduct<1, 5, 6>();
    }
    if constexpr (kColumns > 1) {
      loadMatrix<7>(right + (steps + step) * kTileValues, kTileSide);
      addProduct<2, 4, 7>();
      if constexpr (kRows > 1) addProduct<3, 5, 7>();
    }
  }
  forEach([&](auto sum, float* to) HWY_ATTR { storeMatrix<sum>(to, stride); });
}

/// The same with counts that are known at run time.
template <bool kAdd>
HWY_INLINE void multiplyTiles(int64_t rows, int64_t columns, const uint16_t* left, const uint16_t* right, int64_t steps,
                              float* sums, int64_t stride) {
  if (rows > 1) {
    if (columns > 1)
      multiplyTiles<2, 2, kAdd>(left, right, steps, sums, stride);
    else
      multiplyTiles<2, 1, kAdd>(left, right, steps, sums, stride);
  } else if (columns > 1) {
    multiplyTiles<1, 2, kAdd>(left, right, steps, sums, stride);
  } else {
    multiplyTiles<1, 1, kAdd>(left, right, steps, sums, stride);
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

/// Rows [begin, end) times a group of sections.
void multiplyGroup(const SectionProducts& products, const SectionGroup& group, int64_t begin, int64_t end) {
  const int64_t stride = group.sums + kTileSide;
  Scratch scratch;
  auto* const line = scratch.take<uint16_t>(group.left);
  auto* const left = scratch.take<uint16_t>(group.left * kBlockRows);
  auto* const sums = scratch.take<float>(stride * kBlockRows);
  for (int64_t row = begin; row < end; row += kBlockRows) {
    const int64_t count = std::min(kBlockRows, end - row);
    gatherRows(products.from, group, row, count, line, left);
    for (const SectionPart& part : group.parts)
      for (int64_t column = 0; column < part.columns(); column += 2)
        multiplyTiles<false>(tilesOf(count, kTileSide), part.columns() - column, left + part.left * kBlockRows,
                             part.right + column * part.steps() * kTileValues, part.steps(),
                             sums + part.sums + column * kTileSide, stride);
    for (int64_t i = 0; i < count; ++i) {
      auto* const to = rowOf<hwy::bfloat16_t>(products.to, row + i);
      const auto* const next = to + products.to.strides[0];
      for (const Run& run : group.writes) {
        if (i + 1 < count)
          for (int64_t at = 0; at < run.count; at += kTileDepth) __builtin_prefetch(next + run.column + at, 1);
        if (products.accumulate || run.adds)
          writeRun<true>(sums + i * stride + run.at, to + run.column, run.count);
        else
          writeRun<false>(sums + i * stride + run.at, to + run.column, run.count);
      }
    }
  }
}

void MultiplyRows(const SectionProducts& products, int64_t begin, int64_t end) {
  const MatrixUnits<hwy::bfloat16_t> units;
  for (const SectionGroup& group : products.groups) multiplyGroup(products, group, begin, end);
  const int64_t columns = products.to.shape[1];
  for (int64_t i = begin; i < end && products.written < columns && !products.accumulate; ++i)
    std::memset(rowOf<uint16_t>(products.to, i) + products.written, 0,
                static_cast<size_t>(columns - products.written) * sizeof(uint16_t));
}

/// Units of two values, of neighbouring rows, in 16 columns from `column` on.
HWY_INLINE BitsVector pairUnits(const uint16_t* even, const uint16_t* odd, int64_t column, int64_t columns) {
  const ShortTag tag;
  const auto count = static_cast<size_t>(std::min(columns - column, kTileSide));
  const auto low = hn::PromoteTo(BitsTag(), hn::LoadN(tag, even + column, count));
  const auto high = hn::PromoteTo(BitsTag(), hn::LoadN(tag, odd + column, count));
  return hn::Or(low, hn::ShiftLeft<16>(high));
}

/// A section's vectors of rows [begin, end), in pairs of rows: calls body(pair, even, odd) with entries, up to a
/// multiple of 16 pairs; `zeros` stand for rows past the end.
template <class Body>
HWY_INLINE void forPairs(const TensorDesc& from, const Runs& runs, int64_t begin, int64_t end, uint16_t* lines,
                         int64_t length, const uint16_t* zeros, Body&& body) {
  for (int64_t pair = 0; pair < tilesOf(end - begin, kTileDepth) * kTileSide; ++pair) {
    const auto entries = [&](int64_t row, uint16_t* line) HWY_ATTR {
      if (row >= end) return zeros;
      const uint16_t* const values = rowOf<const uint16_t>(from, row);
      if (row + kTileDepth < from.shape[0]) prefetchRow(values + kTileDepth * from.strides[0], runs);
      return entriesOf(values, runs, line);
    };
    const int64_t row = begin + 2 * pair;
    const uint16_t *const even = entries(row, lines), *const odd = entries(row + 1, lines + length);
    body(pair, even, odd);
  }
}

/// Adds rows [begin, end) to the gradients of a section's tiles of rows [first, last), which start at `sums`.
void addSectionGradient(const SectionGradients& gradients, const Section& section, int64_t begin, int64_t end,
                        int64_t first, int64_t last, bool add, const GradientBuffers& buffers, float* sums) {
  const int64_t steps = tilesOf(end - begin, kTileDepth), columns = tilesOf(section.depth, kTileSide);
  forPairs(gradients.x, section.reads, begin, end, buffers.lines, gradients.length, buffers.zeros,
           [&](int64_t pair, const uint16_t* even, const uint16_t* odd) HWY_ATTR {
             auto* const to = reinterpret_cast<uint32_t*>(buffers.right) + pair * kTileSide;
             for (int64_t j = 0; j < columns; ++j)
               hn::Store(pairUnits(even, odd, j * kTileSide, section.depth), BitsTag(),
                         to + j * steps * kTileSide * kTileSide);
           });
  const int64_t units = (last - first) * kTileSide;
  forPairs(gradients.gradient, section.writes, begin, end, buffers.lines, gradients.length, buffers.zeros,
           [&](int64_t pair, const uint16_t* even, const uint16_t* odd) HWY_ATTR {
             uint32_t* const strip = buffers.pairs + pair % kTileSide * units;
             for (int64_t i = first; i < last; ++i)
               hn::Store(pairUnits(even, odd, i * kTileSide, section.width), BitsTag(),
                         strip + (i - first) * kTileSide);
             if (pair % kTileSide < kTileSide - 1) return;
             for (int64_t i = 0; i < last - first; ++i) {
               const int64_t tile = (i / 2 * steps + pair / kTileSide) * 2 + i % 2;
               transposeUnits(buffers.pairs + i * kTileSide, units, kTileSide, kTileSide,
                              reinterpret_cast<uint32_t*>(buffers.left + tile * kTileValues), kTileSide);
             }
           });
  for (int64_t i = first; i < last; i += 2) {
    for (int64_t j = 0; j < columns; j += 2, sums += kBlockRows * kBlockRows) {
      const uint16_t* const left = buffers.left + (i - first) * steps * kTileValues;
      const uint16_t* const right = buffers.right + j * steps * kTileValues;
      if (add)
        multiplyTiles<true>(last - i, columns - j, left, right, steps, sums, kBlockRows);
      else
        multiplyTiles<false>(last - i, columns - j, left, right, steps, sums, kBlockRows);
    }
  }
}

void AddGradients(const SectionGradients& gradients, int64_t part, int64_t strip) {
  const MatrixUnits<hwy::bfloat16_t> units;
  Scratch scratch;
  const int64_t length = gradients.length;
  const GradientBuffers buffers{
      scratch.take<uint16_t>(gradients.chunk * length), scratch.take<uint16_t>(gradients.chunk * length),
      scratch.take<uint32_t>(kTileSide * length), scratch.take<uint16_t>(2 * length), scratch.take<uint16_t>(length)};
  std::memset(buffers.zeros, 0, static_cast<size_t>(length) * sizeof(uint16_t));
  const auto [from, to] = gradients.stripOf(strip);
  const int64_t begin = gradients.partOf(part), end = gradients.partOf(part + 1);
  for (int64_t row = begin; row < end; row += gradients.chunk) {
    const int64_t last = std::min(end, row + gradients.chunk);
    float* sums = gradients.sums + part * gradients.sumsOfPart;
    int64_t tile = 0;  // of the first row of a section
    for (const Section& section : gradients.sections) {
      const int64_t tiles = tilesOf(section.width, kBlockRows);
      const int64_t first = std::max(from, tile) - tile, beyond = std::min(to, tile + tiles) - tile;
      if (first < beyond)
        addSectionGradient(gradients, section, row, last, 2 * first,
                           std::min(2 * beyond, tilesOf(section.width, kTileSide)), row > begin, buffers,
                           sums + first * tilesOf(section.depth, kBlockRows) * kBlockRows * kBlockRows);
      sums += tiles * tilesOf(section.depth, kBlockRows) * kBlockRows * kBlockRows;
      tile += tiles;
    }
  }
}

/// Rows [begin, end) of all dFolded, stacked: the sums of the parts.
void SumParts(const SectionGradients& gradients, const TensorDesc& dFolded, int64_t begin, int64_t end) {
  const int64_t R = dFolded.shape[1];
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / R, i = row % R;
    const Section& section = gradients.sections[static_cast<size_t>(b)];
    float* const to = static_cast<float*>(dFolded.data) + row * R;
    if (i >= section.width) {
      std::fill(to, to + R, 0.0f);
      continue;
    }
    const float* sums = gradients.sums + i % kBlockRows * kBlockRows;
    for (int64_t before = 0; before < b; ++before)
      sums += gradients.sumsOf(gradients.sections[static_cast<size_t>(before)]);
    sums += i / kBlockRows * tilesOf(section.depth, kBlockRows) * kBlockRows * kBlockRows;
    forVectors(R, [&](int64_t j, auto part) HWY_ATTR {
      FloatVector sum = hn::Zero(FloatTag());
      if (j < section.depth) {
        const float* const values = sums + j / kBlockRows * kBlockRows * kBlockRows + j % kBlockRows;
        sum = hn::LoadU(FloatTag(), values);
        for (int64_t other = 1; other < gradients.parts; ++other)
          sum = hn::Add(sum, hn::LoadU(FloatTag(), values + other * gradients.sumsOfPart));
      }
      store(sum, to + j, part);
    });
  }
}

#else

constexpr bool kHasTiles = false;

void AddGradients(const SectionGradients&, int64_t, int64_t) { unsupported("sections by matrix units"); }
void SumParts(const SectionGradients&, const TensorDesc&, int64_t, int64_t) { unsupported("sections by matrix units"); }

void MultiplyRows(const SectionProducts&, int64_t, int64_t) { unsupported("sections by matrix units"); }

#endif

bool HasTiles() { return kHasTiles; }

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(HasTiles);
HWY_EXPORT(MultiplyRows);
HWY_EXPORT(AddGradients);
HWY_EXPORT(SumParts);

namespace {

/// Packs the sections' matrices and multiplies.
void multiplySections(SectionProducts products, const std::vector<Section>& sections, const TensorDesc& folded,
                      bool transposed) {
  const int64_t R = folded.shape[1];
  products.groups = groupsOf(sections);
  std::vector<SectionPart*> parts;
  int64_t tiles = 0;
  for (SectionGroup& group : products.groups)
    for (SectionPart& part : group.parts) {
      parts.push_back(&part);
      tiles += part.columns() * part.steps();
    }
  Scratch scratch;
  auto* right = scratch.take<uint16_t>(tiles * kTileValues);
  for (SectionPart* const part : parts) {
    part->right = right;
    right += part->columns() * part->steps() * kTileValues;
  }
  shareItems(static_cast<int64_t>(parts.size()), [&](int64_t i, int) {
    const SectionPart& part = *parts[static_cast<size_t>(i)];
    const int64_t rowStride = transposed ? R : 1, columnStride = transposed ? 1 : R;
    const uint16_t* const matrix =
        static_cast<const uint16_t*>(folded.data) + part.section * R * R + part.begin * columnStride;
    packPairs({matrix, part.depth, part.width, rowStride, columnStride}, kTileSide, part.right);
  });
  // With several groups, each of them serves many rows.
  constexpr int64_t kMany = 256;
  parallelRanges(
      products.from.shape[0], products.from.shape[1] + products.to.shape[1],
      [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(MultiplyRows)(products, begin, end); },
      products.groups.size() == 1 ? kBlockRows : kMany);
}

}  // namespace

bool multipliesSectionTiles(const TensorDesc& from, const TensorDesc& to) {
  constexpr int64_t kLeastRows = 16;
  static const bool has = HWY_DYNAMIC_DISPATCH(HasTiles)() && hasMatrixUnits();
  return has && from.dtype == DType::bf16 && to.dtype == DType::bf16 && from.shape[0] >= kLeastRows;
}

void multiplySectionTiles(const SectionPlan& plan, const TensorDesc& x, const TensorDesc& folded, const TensorDesc& y,
                          bool accumulate) {
  std::vector<Section> sections = sectionsOf(plan);
  for (Section& section : sections) section.writes = repeatedRuns(plan, std::move(section.writes));
  const int64_t written = plan.truncate ? std::min(plan.side, plan.outFeatures) : plan.outFeatures;
  multiplySections({x, y, written, accumulate, {}}, sections, folded, false);
}

void multiplySectionTilesTransposed(const SectionPlan& plan, const TensorDesc& gradient, const TensorDesc& folded,
                                    const TensorDesc& dX, bool accumulate) {
  std::vector<Section> sections;
  for (Section& section : sectionsOf(plan)) sections.emplace_back(std::move(section.writes), std::move(section.reads));
  const int64_t written = std::min(plan.liveSections() * plan.side, plan.inFeatures);
  multiplySections({gradient, dX, written, accumulate, {}}, sections, folded, true);
}

void multiplySectionTileGradients(const SectionPlan& plan, const TensorDesc& x, const TensorDesc& gradient,
                                  const TensorDesc& dFolded) {
  constexpr int64_t kPanelBytes = 768 << 10, kLeastRows = 512, kMostSums = 8 << 20;
  SectionGradients gradients{x, gradient, sectionsOf(plan), tilesOf(plan.side, kBlockRows) * kBlockRows};
  int64_t strips = 0;
  for (const Section& section : gradients.sections) {
    gradients.sumsOfPart += gradients.sumsOf(section);
    strips += tilesOf(section.width, kBlockRows);
  }
  const int64_t members = teamSize(), T = x.shape[0];
  // Parts of the rows share no work, but each has sums of its own.
  gradients.parts = std::clamp<int64_t>(std::min(T / kLeastRows, kMostSums / gradients.sumsOfPart), 1, members);
  gradients.strips = gradients.parts == members ? 1 : std::min(strips, tilesOf(2 * members, gradients.parts));
  gradients.chunk = std::clamp<int64_t>(kPanelBytes / (4 * plan.side) / kTileDepth, 4, 8) * kTileDepth;
  gradients.blocks = strips;
  Scratch scratch;
  gradients.sums = scratch.take<float>(gradients.parts * gradients.sumsOfPart);
  shareItems(gradients.parts * gradients.strips, [&](int64_t item, int) {
    HWY_DYNAMIC_DISPATCH(AddGradients)(gradients, item / gradients.strips, item % gradients.strips);
  });
  parallelRanges(plan.liveSections() * plan.side, plan.side * gradients.parts,
                 [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(SumParts)(gradients, dFolded, begin, end); });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
