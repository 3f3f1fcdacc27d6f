// How products are cut: parts cover their axis, and those of one size are of one kind, which shares a primitive.
#include "cpu/products/product_cut.h"

#include <set>

#include "check.h"

using mora::cpu::Axis;
using mora::cpu::cutOf;
using mora::cpu::Part;
using mora::cpu::partsOfTokens;

namespace {

void checkKinds(const Axis& axis, size_t kinds) {
  CHECK(axis.kinds().size() == kinds);
  int64_t covered = 0;
  for (int64_t part = 0; part < axis.count; ++part) {
    CHECK(axis.begin(part) == covered);
    covered += axis.sizeOf(part);
    bool found = false;
    for (const auto& [differs, size] : axis.kinds())
      found = found || (differs == axis.differs(part) && size == axis.sizeOf(part));
    CHECK(found);
  }
  CHECK(covered == axis.length);
}

/// Parts cover the tokens, only the last has fewer than its size, and all have one of two sizes.
void checkTokens(int64_t length, bool mayBeLarge) {
  const std::vector<Part> parts = partsOfTokens(length, mayBeLarge);
  int64_t covered = 0;
  for (const Part& part : parts) {
    CHECK(part.begin == covered);
    CHECK(part.length > 0 && part.length <= part.size);
    CHECK(part.length == part.size || &part == &parts.back());
    CHECK(part.size == 64 || (mayBeLarge && part.size == 256));
    covered += part.length;
  }
  CHECK(covered == length);
}

/// Sizes of the primitives for products of any number of rows.
std::set<int64_t> sizesOfRows(int64_t from, int64_t to, int64_t columns, int64_t depth, bool packsFast) {
  std::set<int64_t> sizes;
  for (int64_t rows = from; rows <= to; ++rows) {
    const auto cut = cutOf({1, rows, columns, depth, false, true, packsFast, true, false}, 2);
    for (const Part& part : cut.rows) sizes.insert(part.size);
  }
  return sizes;
}

}  // namespace

int main() {
  checkKinds(Axis{}, 1);
  checkKinds(Axis::inParts(2048, 2, 32), 1);
  checkKinds(Axis::inParts(2048, 16, 32), 1);
  checkKinds(Axis::inParts(2100, 2, 32), 2);
  checkKinds(Axis::inParts(7, 4, 16), 1);
  checkKinds(Axis::inParts(65, 2, 32), 1);   // the remainder is too short for a part, so there is one of 65
  checkKinds(Axis::inParts(161, 4, 32), 2);  // two parts of 64, and one with the remainder
  // The product of a layer of 576 outputs, for two members: one kind of pieces.
  const auto cut = cutOf({1, 2048, 576, 576, false, true, true, true, false}, 2);
  CHECK(cut.packs && cut.pieces() > 2 && cut.columns.kinds().size() <= 2);

  for (int64_t length = 1; length < 1100; ++length)
    for (const bool mayBeLarge : {false, true}) checkTokens(length, mayBeLarge);
  // For any number of tokens, one matrix uses primitives of two sizes, a narrow matrix already from few tokens on.
  const std::set<int64_t> sizes{64, 256};
  CHECK(sizesOfRows(1024, 2100, 1536, 576, false) == sizes);
  CHECK(sizesOfRows(512, 2100, 1536, 576, true) == sizes);
  CHECK(sizesOfRows(64, 2100, 8, 576, false) == sizes);
  CHECK(sizesOfRows(64, 2100, 576, 8, false) == sizes);
  // Sums over tokens: in parts if the result is small; by one primitive if it is large, or if the operands are not
  // tokens.
  const auto depthsOf = [](int64_t rows, bool mayPad) {
    return cutOf({1, rows, 576, 1813, true, true, false, false, mayPad}, 2).depth;
  };
  CHECK(depthsOf(8, true).size() == 8 && depthsOf(8, true).back().size == 64);
  CHECK(depthsOf(576, true).size() == 1 && depthsOf(8, false).size() == 1);
  // One matrix of a batch at a time if parts are padded, since the padding's memory is that of one matrix.
  CHECK(cutOf({43, 1813, 96, 96, false, true, true, true, false}, 2).batch.size == 1);
  CHECK(cutOf({43, 130, 130, 1813, true, true, false, false, true}, 1).batch.size == 1);
  return mora::test::finish();
}
