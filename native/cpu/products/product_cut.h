// How a product is cut into pieces for a team. oneDNN computes each piece on one thread, so threads are assigned at run
// time (team.h); a piece's result depends only on the sizes and the number of members.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace mora::cpu {

/// A dimension in parts of `size`; the last part is the remainder.
struct Axis {
  int64_t length = 1, size = 1, count = 1;

  /// Cuts into about `parts` parts, multiples of `multiple`. The last is never shorter than `multiple` unless it is the
  /// only one.
  static Axis inParts(int64_t length, int64_t parts, int64_t multiple) {
    const int64_t least = (length + parts - 1) / parts, size = (least + multiple - 1) / multiple * multiple;
    if (size >= length) return {length, length, 1};
    return {length, size, length / size + (length % size >= multiple ? 1 : 0)};
  }

  int64_t begin(int64_t part) const { return part * size; }
  int64_t sizeOf(int64_t part) const { return part + 1 == count ? length - begin(part) : size; }
  /// Whether it is a last part of another size.
  bool differs(int64_t part) const { return sizeOf(part) != size; }

  struct Kind {
    bool differs;
    int64_t size;
  };
  /// The different kinds of parts; each needs its own primitive.
  std::vector<Kind> kinds() const {
    std::vector<Kind> all;
    if (!differs(0)) all.push_back({false, size});
    if (differs(count - 1)) all.push_back({true, sizeOf(count - 1)});
    return all;
  }
};

/// A part of a dimension, computed by a primitive for `size` values, padded with zeros if that exceeds its length.
struct Part {
  int64_t begin, length, size;
};

inline std::vector<Part> partsOf(const Axis& axis) {
  std::vector<Part> parts;
  for (int64_t i = 0; i < axis.count; ++i) parts.push_back({axis.begin(i), axis.sizeOf(i), axis.sizeOf(i)});
  return parts;
}

/// Cuts tokens into parts of two sizes: their number differs from step to step, and a new primitive for each would take
/// 3 ms, and 0.25 MB in the cache. The remainder is padded.
inline std::vector<Part> partsOfTokens(int64_t length, bool mayBeLarge) {
  constexpr int64_t kLarge = 256, kSmall = 64;
  std::vector<Part> parts;
  for (int64_t begin = 0; begin < length;) {
    const int64_t rest = length - begin, size = mayBeLarge && rest >= kLarge ? kLarge : kSmall;
    parts.push_back({begin, std::min(rest, size), size});
    begin += size;
  }
  return parts;
}

struct ProductCut {
  Axis batch, columns;
  /// Parts of the depth are added in order.
  std::vector<Part> rows, depth;
  /// Whether the right operand is first packed in the order of oneDNN's kernels, once for all pieces.
  bool packs = false;

  int64_t panels() const { return batch.count * columns.count; }
  int64_t pieces() const { return panels() * static_cast<int64_t>(rows.size()); }
};

struct ProductSizes {
  int64_t batch, rows, columns, depth;
  /// Whether the left operand is transposed, so that each piece copies the rows it reads.
  bool copiesLeft;
  /// Whether each batch has its own right operand, small enough to copy.
  bool mayPack;
  /// Whether packing is fast enough to pay for fewer rows, too.
  bool packsFast;
  /// Whether rows of the left operand (or columns of a transposed one) are tokens, which may be padded with zeros.
  bool mayPadRows, mayPadDepth;
};

inline ProductCut cutOf(const ProductSizes& sizes, int members) {
  constexpr int64_t kSmall = 1 << 20;           // multiplications that end before a second thread has woken up
  constexpr int64_t kPiece = 1 << 23;           // multiplications of a piece: about 0.1 ms
  constexpr int64_t kMostPieces = 8;            // pieces per member
  constexpr int64_t kRows = 32, kColumns = 64;  // oneDNN's block sizes
  constexpr int64_t kNarrow = 48;               // packing b costs as much as it saves for fewer rows, or b is small
  constexpr int64_t kFewTokens = 64;            // so few tokens have primitives of their own
  constexpr int64_t kPackedRows = 1024, kFewPackedRows = 512;  // for fewer rows, packing costs more than it saves
  constexpr int64_t kSum = 1 << 17;    // values of c that stay in the cache between parts of the depth
  constexpr int64_t kLargeRows = 128;  // average rows of a part that justify large parts if b is not packed
  const auto& [batch, rows, columns, depth, copiesLeft, mayPack, packsFast, mayPadRows, mayPadDepth] = sizes;
  const bool narrow = std::min(depth, columns) < kNarrow;
  ProductCut cut{{batch, batch, 1}, {columns, columns, 1}, {{0, rows, rows}}, {{0, depth, depth}}, false};
  cut.packs = mayPack && !narrow && rows >= (packsFast ? kFewPackedRows : kPackedRows);
  const bool ofTokens = mayPadRows && rows >= kFewTokens && (cut.packs || narrow);
  const bool overTokens = mayPadDepth && depth >= kFewTokens && !cut.packs && rows * columns <= kSum;
  if (overTokens) cut.depth = partsOfTokens(depth, true);

  const double work = static_cast<double>(batch * rows) * static_cast<double>(columns * depth);
  const bool alone = members == 1 || work < kSmall;
  const double pieces = std::clamp(work / members / kPiece, 1.0, static_cast<double>(kMostPieces));
  int64_t wanted = alone ? 1 : members * static_cast<int64_t>(pieces);
  if (alone && !ofTokens && !overTokens) return cut;
  if (batch > 1) {
    cut.batch = Axis::inParts(batch, ofTokens || overTokens ? batch : wanted, 1);
    wanted = (wanted + cut.batch.count - 1) / cut.batch.count;
    if (!ofTokens && (batch >= 4 * members || wanted == 1)) return cut;
  }
  if (cut.packs && wanted > 1) cut.columns = Axis::inParts(columns, members, kColumns);
  const int64_t rowParts = (wanted + cut.columns.count - 1) / cut.columns.count;
  if (ofTokens) {
    cut.rows = partsOfTokens(rows, cut.packs || rows / rowParts >= kLargeRows);
    return cut;
  }
  if (cut.packs) {
    cut.rows = partsOf(Axis::inParts(rows, rowParts, kRows));
    return cut;
  }
  // Each part of the rows packs the whole right operand again; each part of the columns may copy the left one.
  wanted = std::min<int64_t>(wanted, 2 * members);
  // A few parts must be of equal size, or members wait for each other, so they may end within a block.
  const Axis byColumns = Axis::inParts(columns, wanted, kColumns / 4), byRows = Axis::inParts(rows, wanted, kRows);
  const bool columnsCost = copiesLeft && rows > columns;
  const bool enoughColumns = byColumns.count >= members, enoughRows = byRows.count >= members;
  if (enoughColumns && (!columnsCost || !enoughRows))
    cut.columns = byColumns;
  else
    cut.rows = partsOf(byRows);
  return cut;
}

}  // namespace mora::cpu
