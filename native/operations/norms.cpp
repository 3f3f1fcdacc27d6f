// Norms over rows, and their gradients.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

namespace {

/// Checks rows to normalise: of x [T, D], or of every head of x [T, heads, D]; see checkPerRow for statistics per row.
void checkNormRows(Check& check, const Tensor& x, const Tensor& weight) {
  check.tensor("x", x).that(x.rank() == 2 || x.rank() == 3, "2 or 3 dimensions").floats().rows();
  check.tensor("weight", weight).shape({x.size(-1)}).dtype(DType::f32).dense();
}

void checkPerRow(Check& check, const char* name, const Tensor& perRow, const Tensor& x) {
  check.tensor(name, perRow).dtype(DType::f32).dense();
  if (x.rank() == 3)
    check.shape({x.size(0), x.size(1)});
  else
    check.shape({x.size(0)});
}

}  // namespace

void rmsNorm(InOut x, Optional residual, In weight, Real weightOffset, Real epsilon, Optional y, Optional rstd) {
  Check check("rmsNorm");
  checkNormRows(check, x, weight);
  if (residual) checkRowsLike(check, "residual", residual, x);
  if (y) checkRowsLike(check, "y", y, x);
  if (rstd) checkPerRow(check, "rstd", rstd, x);
  check.enqueue(&Backend::rmsNorm, x, residual, weight, weightOffset, epsilon, y, rstd);
}

void rmsNormApply(In x, In weight, Real weightOffset, In rstd, Out y) {
  Check check("rmsNormApply");
  checkNormRows(check, x, weight);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "y", y, x);
  check.enqueue(&Backend::rmsNormApply, x, weight, weightOffset, rstd, y);
}

void rmsNormBackward(In dY, In x, In weight, Real weightOffset, In rstd, Out dX, Flag accumulate, Optional dWeight) {
  Check check("rmsNormBackward");
  checkNormRows(check, x, weight);
  checkRowsLike(check, "dY", dY, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "dX", dX, x);
  if (dWeight) check.tensor("dWeight", dWeight).sameShape(weight).dtype(DType::f32).dense();
  check.enqueue(&Backend::rmsNormBackward, dY, x, weight, weightOffset, rstd, dX, accumulate, dWeight);
}

void layerNorm(In x, In weight, Optional bias, Real epsilon, Out y, Out mean, Out rstd) {
  Check check("layerNorm");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  if (bias) check.tensor("bias", bias).sameShape(weight).dtype(DType::f32).dense();
  checkRowsLike(check, "y", y, x);
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  check.enqueue(&Backend::layerNorm, x, weight, bias, epsilon, y, mean, rstd);
}

void layerNormApply(In x, In weight, Optional bias, In mean, In rstd, Out y) {
  Check check("layerNormApply");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  if (bias) check.tensor("bias", bias).sameShape(weight).dtype(DType::f32).dense();
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "y", y, x);
  check.enqueue(&Backend::layerNormApply, x, weight, bias, mean, rstd, y);
}

void layerNormBackward(In dY, In x, In weight, In mean, In rstd, Out dX, Flag accumulate, Optional dWeight,
                       Optional dBias) {
  Check check("layerNormBackward");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  checkRowsLike(check, "dY", dY, x);
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "dX", dX, x);
  if (dWeight) check.tensor("dWeight", dWeight).sameShape(weight).dtype(DType::f32).dense();
  if (dBias) check.tensor("dBias", dBias).sameShape(weight).dtype(DType::f32).dense();
  check.enqueue(&Backend::layerNormBackward, dY, x, weight, mean, rstd, dX, accumulate, dWeight, dBias);
}

}  // namespace mora::operations
