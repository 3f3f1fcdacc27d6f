// The loss and the sampling of tokens.
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

void crossEntropyPart(const Tensor& logits, const Tensor& targets, LogitsPart part, const Tensor& values,
                      const Tensor& running, const Tensor& exponentials, const Tensor& sums, const Tensor& chosen) {
  Check check("crossEntropyPart");
  check.tensor("logits", logits).rank(2).dtype(DType::f32).rows();
  check.that(part.softcap >= 0 && std::isfinite(part.softcap), "a softcap of 0 or more");
  check.that(part.first >= 0, "a first column of 0 or more");
  check.tensor("targets", targets).shape({logits.size(0)}).dtype(DType::i32).dense();
  check.tensor("running", running).shape({logits.size(0), 4}).dtype(DType::f32).rows();
  if (exponentials) check.tensor("exponentials", exponentials).sameShape(logits).floats().rows();
  if (sums) check.tensor("sums", sums).rank(2).shape({logits.size(0), sums.size(1)}).dtype(DType::f32).rows();
  if (chosen) {
    check.tensor("chosen", chosen).rank(2).shape({logits.size(0), chosen.size(1)}).floats().rows();
    check.tensor("values", values).shape({logits.size(1), chosen.size(1)}).floats().rows();
  }
  MORA_ENQUEUE(check, crossEntropyPart, logits.desc(), targets.desc(), part, optional(values), running.desc(),
               optional(exponentials), optional(sums), optional(chosen));
}

void crossEntropyOfParts(const Tensor& running, const Tensor& targets, double softcap, double scale, const Tensor& sums,
                         const Tensor& losses, const Tensor& dX) {
  Check check("crossEntropyOfParts");
  check.tensor("losses", losses).rank(1).dtype(DType::f32).dense();
  check.that(softcap >= 0 && std::isfinite(softcap), "a softcap of 0 or more");
  check.tensor("running", running).shape({losses.size(0), 4}).dtype(DType::f32).rows();
  check.tensor("targets", targets).shape({losses.size(0)}).dtype(DType::i32).dense();
  if (dX) {
    check.tensor("dX", dX).rank(2).shape({losses.size(0), dX.size(1)}).floats().rows();
    check.tensor("sums", sums).sameShape(dX).dtype(DType::f32).rows();
  }
  MORA_ENQUEUE(check, crossEntropyOfParts, running.desc(), targets.desc(), static_cast<float>(softcap),
               static_cast<float>(scale), optional(sums), losses.desc(), optional(dX));
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
