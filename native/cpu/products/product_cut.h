// How a product is cut into pieces for a team. oneDNN computes each piece on one thread, so that who computes which is
// decided while they run (team.h); what a piece computes depends on the sizes and the number of members alone.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace mora::cpu {

/// A dimension in parts of `size`; the last is what remains.
struct Axis {
  int64_t length = 1, size = 1, count = 1;

  /// About `parts` parts, of multiples of `multiple`. The last is never shorter than that unless it is the only one.
  static Axis inParts(int64_t length, int64_t parts, int64_t multiple) {
    const int64_t least = (length + parts - 1) / parts, size = (least + multiple - 1) / multiple * multiple;
    if (size >= length) return {length, length, 1};
    return {length, size, length / size + (length % size >= multiple ? 1 : 0)};
  }

  int64_t begin(int64_t part) const { return part * size; }
  int64_t sizeOf(int64_t part) const { return part + 1 == count ? length - begin(part) : size; }
  /// Whether it is a last part of another size than the others'.
  bool differs(int64_t part) const { return sizeOf(part) != size; }

  struct Kind {
    bool differs;
    int64_t size;
  };
  /// What parts there are: each kind takes a primitive of its own.
  std::vector<Kind> kinds() const {
    std::vector<Kind> all;
    if (!differs(0)) all.push_back({false, size});
    if (differs(count - 1)) all.push_back({true, sizeOf(count - 1)});
    return all;
  }
};

struct ProductCut {
  Axis batch, rows, columns;
  /// Whether parts of the right operand are first put into the order in which oneDNN's kernels read it, once for all
  /// pieces.
  bool packs = false;

  int64_t panels() const { return batch.count * columns.count; }
  int64_t pieces() const { return panels() * rows.count; }
};

struct ProductSizes {
  int64_t batch, rows, columns, depth;
  /// Whether the left operand is transposed: its rows are then copied by each piece that reads them.
  bool copiesLeft;
  bool mayPack;
};

inline ProductCut cutOf(const ProductSizes& sizes, int members) {
  constexpr int64_t kSmall = 1 << 20;           // multiplications that are done before a second thread has woken up
  constexpr int64_t kPiece = 1 << 23;           // of a piece: about 0.1 ms
  constexpr int64_t kMostPieces = 8;            // of a member
  constexpr int64_t kRows = 32, kColumns = 64;  // of oneDNN's blocks
  const auto& [batch, rows, columns, depth, copiesLeft, mayPack] = sizes;
  ProductCut cut{{batch, batch, 1}, {rows, rows, 1}, {columns, columns, 1}, mayPack};
  const double work = static_cast<double>(batch * rows) * static_cast<double>(columns * depth);
  if (members == 1 || work < kSmall) return cut;
  const double pieces = std::clamp(work / members / kPiece, 1.0, static_cast<double>(kMostPieces));
  int64_t wanted = members * static_cast<int64_t>(pieces);
  if (batch > 1) {
    cut.batch = Axis::inParts(batch, wanted, 1);
    wanted = (wanted + cut.batch.count - 1) / cut.batch.count;
    if (batch >= 4 * members || wanted == 1) return cut;
  }
  if (mayPack) {
    cut.columns = Axis::inParts(columns, members, kColumns);
    cut.rows = Axis::inParts(rows, (wanted + cut.columns.count - 1) / cut.columns.count, kRows);
    return cut;
  }
  // Each part of the rows packs the whole right operand by itself; each part of the columns may copy the left one.
  wanted = std::min<int64_t>(wanted, 2 * members);
  // Few parts have to be alike, or a member waits for the other: they may end within a block.
  const Axis byColumns = Axis::inParts(columns, wanted, kColumns / 4), byRows = Axis::inParts(rows, wanted, kRows);
  const bool columnsCost = copiesLeft && rows > columns;
  const bool enoughColumns = byColumns.count >= members, enoughRows = byRows.count >= members;
  if (enoughColumns && (!columnsCost || !enoughRows))
    cut.columns = byColumns;
  else
    cut.rows = byRows;
  return cut;
}

}  // namespace mora::cpu
