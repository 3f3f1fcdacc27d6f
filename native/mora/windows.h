// Sections in aligned windows: the section operators (mora/geometry.h) as products that read and write 16-byte aligned
// columns only, for any R.
//
// Section b reads columns [b R, (b + 1) R) of x and writes as many of y. If R is no multiple of 8, most sections start
// at a column from which tensor cores cannot read 16-bit numbers at full rate. Here a product reads the window of whole
// cells (8 columns) that its section touches, and the folded matrices are [n, W, W]: the matrix of section b starts at
// row and column (b R) mod 8 of its window, with zeros around it, so its neighbours' columns in the window add nothing.
// Writing is harder, because neighbouring windows share a cell: a window writes its cells up to the start of the next
// window, and the last rows (or columns) of a section, which lie in the shared cell, are a second product that is 8
// wide and accumulates. So nothing is zeroed beforehand, and only the shared cells are written twice.
//
// Sections whose windows start at the same offset are 8 / gcd(R, 8) apart: a batch consists of such sections.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "mora/geometry.h"

namespace mora {

/// Number of 16-bit columns in 16 bytes.
constexpr int64_t kCell = 8;

constexpr int64_t cellStart(int64_t column) { return column / kCell * kCell; }
constexpr int64_t cellEnd(int64_t column) { return cellStart(column + kCell - 1); }

/// W: the side of a window that fits every live section of the plan.
inline int64_t windowSide(const SectionPlan& plan) {
  int64_t widest = 0;
  for (int64_t section = 0; section < std::min(plan.liveSections(), kCell); ++section)
    widest = std::max(widest, cellEnd((section + 1) * plan.side) - cellStart(section * plan.side));
  return widest;
}

/// Distance between sections whose windows start at the same offset.
inline int64_t sectionsBetweenLike(int64_t side) { return kCell / std::gcd(side, kCell); }

/// Offset of section b in its window; 0 if the folded matrices have side R, without windows.
MORA_HOST_DEVICE inline int64_t windowOffset(int64_t side, int64_t window, int64_t section) {
  return window == side ? 0 : section * side % kCell;
}

/// Which operand the products of a plan write in parts; the others are read whole.
enum class Written { outputs, inputs, matrices };

namespace windows {

/// A run of columns in a product.
struct Piece {
  int64_t column, width;
  int64_t offset;  // in the window
  bool first;      // the first product that writes these columns
};

/// A side of a window: x wraps around at its width; y is cut there, or folded.
struct Side {
  int64_t width;
  bool wraps;

  /// Appends the pieces of columns [begin, end) of the continued matrix.
  void split(int64_t begin, int64_t end, int64_t window, bool first, std::vector<Piece>& pieces) const {
    for (int64_t at = begin; at < end && (wraps || at < width);) {
      const int64_t next = std::min(end, (at / width + 1) * width);
      pieces.push_back({at % width, next - at, at - window, first && at < width});
      at = next;
    }
  }
};

/// The batch that the product `one` continues, or null.
inline SectionProduct* findBatch(std::vector<SectionProduct>& batches, const SectionProduct& one, int64_t side) {
  for (SectionProduct& batch : batches) {
    const int64_t ahead = batch.count * batch.step;
    if (batch.rows == one.rows && batch.row == one.row && batch.depth == one.depth && batch.column == one.column &&
        batch.first == one.first && batch.section + ahead == one.section && batch.output + ahead * side == one.output &&
        batch.input + ahead * side == one.input)
      return &batch;
  }
  return nullptr;
}

}  // namespace windows

/// The products in the order in which they run. `outputs` is the width of the matrix for y: d, or that of the distinct
/// outputs before they are repeated. A product accumulates unless it is `first`.
inline std::vector<SectionProduct> windowProducts(const SectionPlan& plan, int64_t outputs, Written written) {
  const int64_t R = plan.side, last = plan.liveSections() - 1, step = sectionsBetweenLike(R);
  const windows::Side x{plan.inFeatures, !plan.truncate};
  const windows::Side y{outputs, plan.foldOutput && plan.sections() * R > outputs};
  std::vector<SectionProduct> ones;
  for (int64_t section = 0; section <= last; ++section) {
    const int64_t begin = cellStart(section * R), end = cellEnd((section + 1) * R);
    const auto piecesOf = [&](const windows::Side& side, bool isWritten) {
      const int64_t own = isWritten && section < last ? cellStart((section + 1) * R) : end;
      std::vector<windows::Piece> pieces;
      side.split(begin, own, begin, true, pieces);
      side.split(own, end, begin, false, pieces);
      return pieces;
    };
    const auto rows = piecesOf(y, written == Written::outputs), columns = piecesOf(x, written == Written::inputs);
    for (const windows::Piece& row : rows)
      for (const windows::Piece& column : columns) {
        const bool first = written == Written::matrices  ? true
                           : written == Written::outputs ? row.first && column.offset == 0
                                                         : column.first && row.offset == 0;
        ones.push_back(
            {row.column, row.width, row.offset, column.column, column.width, column.offset, section, 1, first, step});
      }
  }
  // Accumulating products come after the ones that overwrite. Products of a batch are step * R columns apart, so they
  // write different cells.
  std::stable_partition(ones.begin(), ones.end(), [](const SectionProduct& one) { return one.first; });
  std::vector<SectionProduct> batches;
  for (const SectionProduct& one : ones)
    if (SectionProduct* const batch = windows::findBatch(batches, one, R))
      ++batch->count;
    else
      batches.push_back(one);
  return batches;
}

}  // namespace mora
