// Which columns of rows each section of a plan reads and writes (mora/geometry.h), and its products by tiles of matrix
// units.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "mora/geometry.h"

namespace mora::cpu {

/// Columns [column, column + count) of rows are entries [at, at + count) of a section's vector.
struct Run {
  int64_t column, count, at;
  bool adds;  // to what another run writes
};
using Runs = std::vector<Run>;

inline int64_t lengthOf(const Runs& runs) {
  int64_t length = 0;
  for (const Run& run : runs) length = std::max(length, run.at + run.count);
  return length;
}

/// The distinct outputs of a section, and their repeats.
inline Runs repeatedRuns(const SectionPlan& plan, Runs runs) {
  if (plan.truncate) return runs;
  const size_t once = runs.size();
  for (int64_t shift = plan.distinctOutputs(); shift < plan.outFeatures; shift += plan.distinctOutputs())
    for (size_t i = 0; i < once; ++i) {
      Run run = runs[i];
      run.column += shift;
      run.count = std::min(run.count, plan.outFeatures - run.column);
      if (run.count > 0) runs.push_back(run);
    }
  return runs;
}

constexpr int64_t kTileSide = 16, kTileDepth = 32;       // rows and columns of results, and terms, of a tile
constexpr int64_t kTileValues = kTileSide * kTileDepth;  // of an operand
constexpr int64_t kBlockRows = 2 * kTileSide;            // rows that are multiplied together

constexpr int64_t tilesOf(int64_t count, int64_t size) { return (count + size - 1) / size; }

/// A section's product.
struct Section {
  Runs reads, writes;
  int64_t depth, width;  // entries that it reads and writes

  Section(Runs from, Runs to)
      : reads(std::move(from)), writes(std::move(to)), depth(lengthOf(reads)), width(lengthOf(writes)) {}
};

/// The products of a plan's live sections: inputs with the wrap-around padding, and distinct outputs.
inline std::vector<Section> sectionsOf(const SectionPlan& plan) {
  std::vector<std::pair<Runs, Runs>> runs(static_cast<size_t>(plan.liveSections()));
  visitSectionProducts(plan, [&](const SectionProduct& product) {
    for (int64_t i = 0; i < product.count; ++i) {
      auto& [reads, writes] = runs[static_cast<size_t>(product.section + i)];
      if (product.row == 0)
        reads.push_back({product.input + i * plan.side, product.depth, product.column, product.column > 0});
      if (product.column == 0)
        writes.push_back({product.output + i * plan.side, product.rows, product.row, !product.first});
    }
  });
  std::vector<Section> sections;
  for (auto& [reads, writes] : runs) sections.emplace_back(std::move(reads), std::move(writes));
  return sections;
}

/// The product of a section, or of a part of its results, which starts at `begin`.
struct SectionPart {
  int64_t section, begin, width;
  Runs reads;
  int64_t depth;
  int64_t left, sums;         // where its vectors and its results start in a group's buffers
  uint16_t* right = nullptr;  // its matrix in tiles [columns, steps] (packPairs)

  int64_t steps() const { return tilesOf(depth, kTileDepth); }
  int64_t columns() const { return tilesOf(width, kTileSide); }
};

/// Parts whose matrices stay in the second cache while rows go through them.
struct SectionGroup {
  std::vector<SectionPart> parts;
  Runs writes;                 // from a row of sums, in the order of columns
  int64_t left = 0, sums = 0;  // values of a row
};

/// Rows [T, ..] times sections.
struct SectionProducts {
  TensorDesc from, to;
  int64_t written;  // columns of `to`; the rest is zeros
  bool accumulate;
  std::vector<SectionGroup> groups;
};

/// Puts sections into groups of limited size.
inline std::vector<SectionGroup> groupsOf(const std::vector<Section>& sections) {
  constexpr int64_t kMost = (1 << 20) / sizeof(uint16_t);
  std::vector<SectionGroup> groups;
  int64_t values = kMost + 1;  // of the matrices of a group
  for (size_t b = 0; b < sections.size(); ++b) {
    const Section& section = sections[b];
    const int64_t depth = tilesOf(section.depth, kTileDepth) * kTileDepth;
    const int64_t most = std::max(kMost / depth / kBlockRows, int64_t{1}) * kBlockRows;
    for (int64_t begin = 0; begin < section.width; begin += most) {
      const int64_t width = std::min(most, section.width - begin);
      values += depth * width;
      if (values > kMost) {
        groups.emplace_back();
        values = depth * width;
      }
      SectionGroup& group = groups.back();
      group.parts.push_back(
          {static_cast<int64_t>(b), begin, width, section.reads, section.depth, group.left, group.sums});
      for (Run run : section.writes) {
        const int64_t from = std::max(run.at, begin), to = std::min(run.at + run.count, begin + width);
        if (from < to)
          group.writes.push_back({run.column + from - run.at, to - from, group.sums + from - begin, run.adds});
      }
      group.left += depth;
      group.sums += tilesOf(width, kTileSide) * kTileSide;
    }
  }
  for (SectionGroup& group : groups)
    std::stable_sort(group.writes.begin(), group.writes.end(),
                     [](const Run& a, const Run& b) { return !a.adds && (b.adds || a.column < b.column); });
  return groups;
}

/// The gradients of sections, which read rows of x and write rows of `gradient`. Parts of the rows, and strips of the
/// sections' outputs, are items of work. Sums of a part: for each section, blocks [32, 32] of its rows and columns.
struct SectionGradients {
  TensorDesc x, gradient;
  std::vector<Section> sections;
  int64_t length;  // of the longest vector of a section, in whole blocks
  int64_t parts = 1, strips = 1;
  int64_t blocks = 0;  // of 32 outputs, in all sections
  int64_t chunk = 0;   // rows that are packed together
  int64_t sumsOfPart = 0;
  float* sums = nullptr;

  int64_t partOf(int64_t part) const {
    const int64_t T = x.shape[0];
    return std::min(T, tilesOf(T, kTileDepth) * part / parts * kTileDepth);
  }
  std::pair<int64_t, int64_t> stripOf(int64_t strip) const {
    return {blocks * strip / strips, blocks * (strip + 1) / strips};
  }
  static int64_t sumsOf(const Section& section) {
    return tilesOf(section.width, kBlockRows) * tilesOf(section.depth, kBlockRows) * kBlockRows * kBlockRows;
  }
};

/// Packed operands of a chunk, and lines of a section's vectors.
struct GradientBuffers {
  uint16_t *left, *right;
  uint32_t* pairs;
  uint16_t *lines, *zeros;
};

}  // namespace mora::cpu
