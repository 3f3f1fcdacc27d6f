// Rows and columns selected by index.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void embedding(Blocks table, In ids, Out y) {
  Check check("embedding");
  check.tensor("table", table).rank(2).rows();
  check.that(isFloat(table.dtype()) || isQuantised(table.dtype()), "a float or block dtype");
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({ids.size(0), table.size(1)}).floats().rows();
  check.enqueue(&Backend::embedding, table, ids, y);
}

void embeddingBackward(In dY, In ids, InOut dTable) {
  Check check("embeddingBackward");
  check.tensor("dTable", dTable).rank(2).dtype(DType::f32).rows();
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("dY", dY).shape({ids.size(0), dTable.size(1)}).floats().rows();
  check.enqueue(&Backend::embeddingBackward, dY, ids, dTable);
}

void gatherRows(In x, In rows, Out y) {
  Check check("gatherRows");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({rows.size(0), x.size(1)}).dtype(x.dtype()).rows();
  check.enqueue(&Backend::gatherRows, x, rows, y);
}

void scatterRows(In x, In rows, InOut y) {
  Check check("scatterRows");
  check.tensor("y", y).rank(2).floats().rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("x", x).shape({rows.size(0), y.size(1)}).dtype(y.dtype()).rows();
  check.enqueue(&Backend::scatterRows, x, rows, y);
}

void gatherColumns(In x, In columns, Out y, Flag accumulate) {
  Check check("gatherColumns");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("columns", columns).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({x.size(0), columns.size(0)}).dtype(x.dtype()).rows();
  check.enqueue(&Backend::gatherColumns, x, columns, y, accumulate);
}

}  // namespace mora::operations
