// Matrices of small codes.
#include <limits>

#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {
namespace {

/// Checks that codes, scales and the layout match, and returns their descriptors.
CodedMatrix checkCoded(Check& check, const CodedTensors& coded) {
  const CodeLayout& layout = coded.layout;
  const auto require = [&](bool holds, const char* expected) {
    if (!holds) throw Error("invalid-argument", std::string(check.operation()) + ": expected " + expected + ".");
  };
  // Products of two of these fit in 64 bits.
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto fits = [](int64_t value, int64_t least) { return value >= least && value <= kMost; };
  require(layout.bits == 4 || layout.bits == 8, "codes of 4 or 8 bits");
  require(fits(layout.columns, 1) && layout.columns * layout.bits % 8 == 0, "columns that fill whole bytes");
  require(fits(layout.firstRow, 0) && fits(layout.rowsPerScale, 1) && fits(layout.groupSize, 1) &&
              fits(layout.scalesPerScale, 1),
          "positive sizes of groups");
  require(!(layout.runsOn && coded.groups), "no groups of columns where groups run on");
  check.tensor("codes", coded.codes).rank(2).dtype(DType::u8).rows();
  const int64_t rows = coded.codes.size(0);
  check.shape({rows, layout.columns * layout.bits / 8});
  const int64_t last = layout.firstRow + rows;
  require(last <= kMost, "fewer rows");
  const int64_t scales = layout.runsOn ? (last * layout.columns + layout.groupSize - 1) / layout.groupSize
                                       : (last + layout.rowsPerScale - 1) / layout.rowsPerScale * layout.groupsOfRow();
  if (coded.table) check.tensor("table", coded.table).shape({int64_t{1} << layout.bits}).dtype(DType::f32).dense();
  check.tensor("scales", coded.scales).rank(1).dense();
  const bool nested = coded.scales.dtype() == DType::u8;
  check.that(nested || isFloat(coded.scales.dtype()), "a float dtype or uint8");
  check.that(coded.scales.size(0) >= scales, [&] { return "at least " + std::to_string(scales) + " scales"; });
  if (coded.zeros) check.tensor("zeros", coded.zeros).sameShape(coded.scales).dtype(DType::u8).dense();
  if (coded.groups) check.tensor("groups", coded.groups).shape({layout.columns}).dtype(DType::i32).dense();
  if (nested) {
    const int64_t outer = (coded.scales.size(0) + layout.scalesPerScale - 1) / layout.scalesPerScale;
    check.tensor("scaleTable", coded.scaleTable).shape({256}).dtype(DType::f32).dense();
    check.tensor("scaleScales", coded.scaleScales).shape({outer}).dtype(DType::f32).dense();
  }
  return {coded.codes.desc(),  coded.table.desc(),      coded.scales.desc(),      coded.zeros.desc(),
          coded.groups.desc(), coded.scaleTable.desc(), coded.scaleScales.desc(), layout};
}

}  // namespace

void unpackCodes(Coded source, Optional rows, Out target) {
  Check check("unpackCodes");
  const CodedMatrix matrix = checkCoded(check, source);
  if (rows) check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  const int64_t count = rows ? rows.size(0) : source.codes.size(0);
  check.tensor("target", target).shape({count, source.layout.columns}).floats().rows();
  check.enqueue(&Backend::unpackCodes, matrix, rows, target);
}

void matmulCodes(In a, Coded b, Flag transposeB, Out c, Factor alpha, Flag accumulate) {
  Check check("matmulCodes");
  const CodedMatrix matrix = checkCoded(check, b);
  const int64_t rows = b.codes.size(0), columns = b.layout.columns;
  check.tensor("a", a).rank(2).floats().rows().shape({a.size(0), transposeB ? columns : rows});
  check.tensor("c", c).floats().rows().shape({a.size(0), transposeB ? rows : columns});
  check.that(a.dtype() == c.dtype() || c.dtype() == DType::f32,
             [&] { return std::string(traitsOf(a.dtype()).name) + " or float32"; });
  check.enqueue(&Backend::matmulCodes, a, matrix, transposeB, c, alpha, accumulate);
}

}  // namespace mora::operations
