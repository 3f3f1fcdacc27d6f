// The loss, and choosing tokens.
#include <cmath>
#include <limits>

#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void crossEntropy(const Tensor& logits, const Tensor& targets, double softcap, const Tensor& losses,
                  const Tensor& dLogits) {
  Check check("crossEntropy");
  check.tensor("logits", logits).rank(2).floats().rows();
  check.that(softcap >= 0 && std::isfinite(softcap), "a softcap of 0 or more");
  check.tensor("targets", targets).shape({logits.size(0)}).dtype(DType::i32).dense();
  check.tensor("losses", losses).shape({logits.size(0)}).dtype(DType::f32).dense();
  if (dLogits) check.tensor("dLogits", dLogits).sameShape(logits).floats().rows();
  MORA_ENQUEUE(check, crossEntropy, logits.desc(), targets.desc(), static_cast<float>(softcap), losses.desc(),
               optional(dLogits));
}

void capLogits(const Tensor& logits, double softcap) {
  Check check("capLogits");
  check.tensor("logits", logits).rank(2).floats().rows();
  check.that(softcap > 0 && std::isfinite(softcap), "a positive softcap");
  MORA_ENQUEUE(check, capLogits, logits.desc(), static_cast<float>(softcap));
}

void softmaxRows(const Tensor& x, bool logarithm, const Tensor& y) {
  Check check("softmaxRows");
  check.tensor("x", x).rank(2).floats().rows();
  checkRowsLike(check, "y", y, x);
  MORA_ENQUEUE(check, softmaxRows, x.desc(), logarithm, y.desc());
}

void softmaxRowsBackward(const Tensor& dY, const Tensor& y, bool logarithm, const Tensor& dX, bool accumulate) {
  Check check("softmaxRowsBackward");
  check.tensor("y", y).rank(2).floats().rows();
  checkRowsLike(check, "dY", dY, y);
  checkRowsLike(check, "dX", dX, y);
  MORA_ENQUEUE(check, softmaxRowsBackward, dY.desc(), y.desc(), logarithm, dX.desc(), accumulate);
}

void sum(const Tensor& x, const Tensor& total, bool accumulate) {
  Check check("sum");
  check.tensor("x", x).floats().dense();
  check.tensor("total", total).shape({1}).dtype(DType::f32);
  MORA_ENQUEUE(check, sum, x.desc(), total.desc(), accumulate);
}

namespace {

void checkChoice(Check& check, const Tensor& logits, const Tensor& ids) {
  check.tensor("logits", logits)
      .rank(2)
      .floats()
      .rows()
      .that(logits.size(1) > 0 && logits.size(1) <= std::numeric_limits<int32_t>::max(), "1 to 2147483647 columns");
  check.tensor("ids", ids).shape({logits.size(0)}).dtype(DType::i32).dense();
}

}  // namespace

void argmax(const Tensor& logits, const Tensor& ids) {
  Check check("argmax");
  checkChoice(check, logits, ids);
  MORA_ENQUEUE(check, argmax, logits.desc(), ids.desc());
}

void sample(const Tensor& logits, const Tensor& draws, Sampling sampling, const Tensor& ids) {
  Check check("sample");
  checkChoice(check, logits, ids);
  check.tensor("logits", logits)
      .that(sampling.temperature > 0 && std::isfinite(sampling.temperature), "a positive finite temperature")
      .that(sampling.topK >= 0, "a topK of at least 0")
      .that(sampling.topP > 0 && sampling.topP <= 1, "a topP in (0, 1]");
  check.tensor("draws", draws).shape({logits.size(0)}).dtype(DType::i64).dense();
  MORA_ENQUEUE(check, sample, logits.desc(), draws.desc(), sampling, ids.desc());
}

}  // namespace mora::operations
