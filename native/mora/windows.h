// Sections in aligned windows: the section operators (mora/geometry.h) as products that read and write 16-byte aligned
// columns only, whatever R is.
//
// Section b takes columns [b R, (b + 1) R) of x and makes as many of y. Where R is no multiple of 8, most sections
// begin where tensor cores cannot read 16-bit numbers at full rate. Here a product takes the window of whole cells (8
// columns) that its section touches, and the folded matrices are [n, W, W]: section b's lies at row and column (b R)
// mod 8 of its window, with zeros around it, so what a window holds of its neighbours adds nothing. Only what is
// written needs care, because neighbouring windows share a cell: a window's own cells end where the next one begins,
// and the last rows (or columns) of a section, which lie in that shared cell, are one more product that is 8 wide and
// adds. So nothing is zeroed beforehand and nothing is written twice but these cells.
//
// Sections whose windows begin alike are 8 / gcd(R, 8) apart: a batch is of such sections.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "mora/geometry.h"

namespace mora {

/// Columns of 16-bit numbers in 16 bytes.
constexpr int64_t kCell = 8;

constexpr int64_t cellStart(int64_t column) { return column / kCell * kCell; }
constexpr int64_t cellEnd(int64_t column) { return cellStart(column + kCell - 1); }

/// W: the side of a window that every live section of the plan fits into.
inline int64_t windowSide(const SectionPlan& plan) {
  int64_t widest = 0;
  for (int64_t section = 0; section < std::min(plan.liveSections(), kCell); ++section)
    widest = std::max(widest, cellEnd((section + 1) * plan.side) - cellStart(section * plan.side));
  return widest;
}

/// Sections from one to the next whose window begins alike.
inline int64_t sectionsBetweenLike(int64_t side) { return kCell / std::gcd(side, kCell); }

/// Where section b lies in its window: folded matrices whose side is R have no windows.
MORA_HOST_DEVICE inline int64_t windowOffset(int64_t side, int64_t window, int64_t section) {
  return window == side ? 0 : section * side % kCell;
}

/// What the products of a plan write, part by part; the other side of them is read whole.
enum class Written { outputs, inputs, matrices };

namespace windows {

/// A run of columns, as a product has them.
struct Piece {
  int64_t column, width;
  int64_t offset;  // in the window
  bool first;      // of those that lie there
};

/// A side of a window: x wraps around at its width, y is cut there, or folded.
struct Side {
  int64_t width;
  bool wraps;

  /// Adds what lies at columns [begin, end) of the continued matrix.
  void split(int64_t begin, int64_t end, int64_t window, bool first, std::vector<Piece>& pieces) const {
    for (int64_t at = begin; at < end && (wraps || at < width);) {
      const int64_t next = std::min(end, (at / width + 1) * width);
      pieces.push_back({at % width, next - at, at - window, first && at < width});
      at = next;
    }
  }
};

/// The product that `one` continues, if there is one.
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

/// The products in the order in which they run; `outputs` is the width of what they have for y: d, or what the distinct
/// outputs take before they are repeated. A product adds unless it is `first`.
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
  // What adds finds everything written. Products of a batch write different cells, being step * R columns apart.
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
