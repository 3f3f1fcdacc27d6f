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

void rmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, double weightOffset, double epsilon,
             const Tensor& y, const Tensor& rstd) {
  Check check("rmsNorm");
  checkNormRows(check, x, weight);
  if (residual) checkRowsLike(check, "residual", residual, x);
  if (y) checkRowsLike(check, "y", y, x);
  if (rstd) checkPerRow(check, "rstd", rstd, x);
  MORA_ENQUEUE(check, rmsNorm, x.desc(), optional(residual), weight.desc(), static_cast<float>(weightOffset),
               static_cast<float>(epsilon), optional(y), optional(rstd));
}

void rmsNormApply(const Tensor& x, const Tensor& weight, double weightOffset, const Tensor& rstd, const Tensor& y) {
  Check check("rmsNormApply");
  checkNormRows(check, x, weight);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "y", y, x);
  MORA_ENQUEUE(check, rmsNormApply, x.desc(), weight.desc(), static_cast<float>(weightOffset), rstd.desc(), y.desc());
}

void rmsNormBackward(const Tensor& dY, const Tensor& x, const Tensor& weight, double weightOffset, const Tensor& rstd,
                     const Tensor& dX, bool accumulate, const Tensor& dWeight) {
  Check check("rmsNormBackward");
  checkNormRows(check, x, weight);
  checkRowsLike(check, "dY", dY, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "dX", dX, x);
  if (dWeight) check.tensor("dWeight", dWeight).sameShape(weight).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, rmsNormBackward, dY.desc(), x.desc(), weight.desc(), static_cast<float>(weightOffset),
               rstd.desc(), dX.desc(), accumulate, optional(dWeight));
}

void layerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, const Tensor& y,
               const Tensor& mean, const Tensor& rstd) {
  Check check("layerNorm");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  if (bias) check.tensor("bias", bias).sameShape(weight).dtype(DType::f32).dense();
  checkRowsLike(check, "y", y, x);
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  MORA_ENQUEUE(check, layerNorm, x.desc(), weight.desc(), optional(bias), static_cast<float>(epsilon), y.desc(),
               mean.desc(), rstd.desc());
}

void layerNormApply(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& rstd,
                    const Tensor& y) {
  Check check("layerNormApply");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  if (bias) check.tensor("bias", bias).sameShape(weight).dtype(DType::f32).dense();
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "y", y, x);
  MORA_ENQUEUE(check, layerNormApply, x.desc(), weight.desc(), optional(bias), mean.desc(), rstd.desc(), y.desc());
}

void layerNormBackward(const Tensor& dY, const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                       const Tensor& dX, bool accumulate, const Tensor& dWeight, const Tensor& dBias) {
  Check check("layerNormBackward");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  checkRowsLike(check, "dY", dY, x);
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "dX", dX, x);
  if (dWeight) check.tensor("dWeight", dWeight).sameShape(weight).dtype(DType::f32).dense();
  if (dBias) check.tensor("dBias", dBias).sameShape(weight).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, layerNormBackward, dY.desc(), x.desc(), weight.desc(), mean.desc(), rstd.desc(), dX.desc(),
               accumulate, optional(dWeight), optional(dBias));
}

}  // namespace mora::operations
