// Rows and columns selected by index.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void embedding(const Tensor& table, const Tensor& ids, const Tensor& y) {
  Check check("embedding");
  check.tensor("table", table).rank(2).rows();
  check.that(isFloat(table.dtype()) || isQuantised(table.dtype()), "a float or block dtype");
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({ids.size(0), table.size(1)}).floats().rows();
  MORA_ENQUEUE(check, embedding, table.desc(), ids.desc(), y.desc());
}

void embeddingBackward(const Tensor& dY, const Tensor& ids, const Tensor& dTable) {
  Check check("embeddingBackward");
  check.tensor("dTable", dTable).rank(2).dtype(DType::f32).rows();
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("dY", dY).shape({ids.size(0), dTable.size(1)}).floats().rows();
  MORA_ENQUEUE(check, embeddingBackward, dY.desc(), ids.desc(), dTable.desc());
}

void gatherRows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  Check check("gatherRows");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({rows.size(0), x.size(1)}).dtype(x.dtype()).rows();
  MORA_ENQUEUE(check, gatherRows, x.desc(), rows.desc(), y.desc());
}

void scatterRows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  Check check("scatterRows");
  check.tensor("y", y).rank(2).floats().rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("x", x).shape({rows.size(0), y.size(1)}).dtype(y.dtype()).rows();
  MORA_ENQUEUE(check, scatterRows, x.desc(), rows.desc(), y.desc());
}

void gatherColumns(const Tensor& x, const Tensor& columns, const Tensor& y, bool accumulate) {
  Check check("gatherColumns");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("columns", columns).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({x.size(0), columns.size(0)}).dtype(x.dtype()).rows();
  MORA_ENQUEUE(check, gatherColumns, x.desc(), columns.desc(), y.desc(), accumulate);
}

}  // namespace mora::operations
