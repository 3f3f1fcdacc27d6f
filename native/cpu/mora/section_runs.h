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

/// The inputs of a section: its own columns, then the wrap-around padding of the last one.
inline Runs inputRuns(const SectionPlan& plan, int64_t section) {
  const int64_t k = plan.inFeatures, R = plan.side, own = std::min(R, k - section * R);
  Runs runs{{section * R, own, 0, false}};
  for (int64_t at = own; at < R && !plan.truncate; at += k) runs.push_back({0, std::min(R - at, k), at, true});
  return runs;
}

/// The distinct outputs of a section.
inline Runs outputRuns(const SectionPlan& plan, int64_t section) {
  const int64_t d = plan.outFeatures, R = plan.side, first = section * R;
  if (!plan.foldOutput) return {{first, std::min(R, d - first), 0, false}};
  Runs runs;
  for (int64_t at = 0; at < R; at += runs.back().count) {
    const int64_t column = (first + at) % d;
    runs.push_back({column, std::min(R - at, d - column), at, first + at >= d});
  }
  return runs;
}

/// The outputs of a section with their repeats.
inline Runs repeatedRuns(const SectionPlan& plan, int64_t section) {
  Runs runs = outputRuns(plan, section);
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
  int64_t depth, width;       // entries that it reads and writes
  uint16_t* right = nullptr;  // its matrix in tiles [columns, steps] (packPairs)

  Section(Runs from, Runs to)
      : reads(std::move(from)), writes(std::move(to)), depth(lengthOf(reads)), width(lengthOf(writes)) {}
  int64_t steps() const { return tilesOf(depth, kTileDepth); }
  int64_t tiles() const { return steps() * tilesOf(width, kTileSide); }
};

/// Rows [T, ..] times sections.
struct SectionProducts {
  TensorDesc from, to;
  std::vector<Section> sections;
  int64_t written;  // columns of `to`; the rest is zeros
  bool accumulate;
  int64_t together;  // rows that go through a section before the next one
};

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
