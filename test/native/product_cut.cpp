// How products are cut: parts cover their axis, and those of one size are of one kind, which has one primitive.
#include "cpu/products/product_cut.h"

#include "check.h"

using mora::cpu::Axis;
using mora::cpu::cutOf;

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

}  // namespace

int main() {
  checkKinds(Axis{}, 1);
  checkKinds(Axis::inParts(2048, 2, 32), 1);
  checkKinds(Axis::inParts(2048, 16, 32), 1);
  checkKinds(Axis::inParts(2100, 2, 32), 2);
  checkKinds(Axis::inParts(7, 4, 16), 1);
  checkKinds(Axis::inParts(65, 2, 32), 1);   // what remains is not enough for a part: 65 in one
  checkKinds(Axis::inParts(161, 4, 32), 2);  // two parts of 64, and one with what remains
  // The product of a layer of 576 outputs, for two members: one kind of pieces.
  const auto cut = cutOf({1, 2048, 576, 576, false, true}, 2);
  CHECK(cut.pieces() > 1 && cut.rows.kinds().size() * cut.columns.kinds().size() <= 2);
  return mora::test::finish();
}
