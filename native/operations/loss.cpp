// The loss and the sampling of tokens.
#include <cmath>
#include <limits>

#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void crossEntropy(In logits, In targets, Real softcap, Out losses, Optional dLogits) {
  Check check("crossEntropy");
  check.tensor("logits", logits).rank(2).floats().rows();
  check.that(softcap >= 0 && std::isfinite(softcap), "a softcap of 0 or more");
  check.tensor("targets", targets).shape({logits.size(0)}).dtype(DType::i32).dense();
  check.tensor("losses", losses).shape({logits.size(0)}).dtype(DType::f32).dense();
  if (dLogits) check.tensor("dLogits", dLogits).sameShape(logits).floats().rows();
  check.enqueue(&Backend::crossEntropy, logits, targets, softcap, losses, dLogits);
}

void crossEntropyPart(In logits, In targets, LogitsPart part, Optional values, InOut running, Optional exponentials,
                      Optional sums, Optional chosen) {
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
  check.enqueue(&Backend::crossEntropyPart, logits, targets, part, values, running, exponentials, sums, chosen);
}

void crossEntropyOfParts(In running, In targets, Real softcap, Real scale, Optional sums, Out losses, Optional dX) {
  Check check("crossEntropyOfParts");
  check.tensor("losses", losses).rank(1).dtype(DType::f32).dense();
  check.that(softcap >= 0 && std::isfinite(softcap), "a softcap of 0 or more");
  check.tensor("running", running).shape({losses.size(0), 4}).dtype(DType::f32).rows();
  check.tensor("targets", targets).shape({losses.size(0)}).dtype(DType::i32).dense();
  if (dX) {
    check.tensor("dX", dX).rank(2).shape({losses.size(0), dX.size(1)}).floats().rows();
    check.tensor("sums", sums).sameShape(dX).dtype(DType::f32).rows();
  }
  check.enqueue(&Backend::crossEntropyOfParts, running, targets, softcap, scale, sums, losses, dX);
}

void capLogits(InOut logits, Real softcap) {
  Check check("capLogits");
  check.tensor("logits", logits).rank(2).floats().rows();
  check.that(softcap > 0 && std::isfinite(softcap), "a positive softcap");
  check.enqueue(&Backend::capLogits, logits, softcap);
}

void softmaxRows(In x, Flag logarithm, Out y) {
  Check check("softmaxRows");
  check.tensor("x", x).rank(2).floats().rows();
  checkRowsLike(check, "y", y, x);
  check.enqueue(&Backend::softmaxRows, x, logarithm, y);
}

void softmaxRowsBackward(In dY, In y, Flag logarithm, Out dX, Flag accumulate) {
  Check check("softmaxRowsBackward");
  check.tensor("y", y).rank(2).floats().rows();
  checkRowsLike(check, "dY", dY, y);
  checkRowsLike(check, "dX", dX, y);
  check.enqueue(&Backend::softmaxRowsBackward, dY, y, logarithm, dX, accumulate);
}

void sum(In x, Out total, Flag accumulate) {
  Check check("sum");
  check.tensor("x", x).floats().dense();
  check.tensor("total", total).shape({1}).dtype(DType::f32);
  check.enqueue(&Backend::sum, x, total, accumulate);
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

void argmax(In logits, Out ids) {
  Check check("argmax");
  checkChoice(check, logits, ids);
  check.enqueue(&Backend::argmax, logits, ids);
}

void sample(In logits, In draws, In settings, Out ids) {
  Check check("sample");
  checkChoice(check, logits, ids);
  check.tensor("draws", draws).shape({logits.size(0)}).dtype(DType::i64).dense();
  check.tensor("settings", settings).shape({logits.size(0), Sampling::kFields}).dtype(DType::f32).dense();
  check.enqueue(&Backend::sample, logits, draws, settings, ids);
}

void editLogits(In offsets, In ids, In changes, InOut logits) {
  Check check("editLogits");
  check.tensor("logits", logits).rank(2).dtype(DType::f32).rows();
  check.tensor("offsets", offsets).shape({logits.size(0) + 1}).dtype(DType::i32).dense();
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("changes", changes).shape({ids.size(0), 3}).dtype(DType::f32).dense();
  check.enqueue(&Backend::editLogits, offsets, ids, changes, logits);
}

void maskLogits(In mask, In rows, InOut logits) {
  Check check("maskLogits");
  check.tensor("logits", logits).rank(2).dtype(DType::f32).rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("mask", mask).shape({rows.size(0), (logits.size(1) + 31) / 32}).dtype(DType::i32).rows();
  check.enqueue(&Backend::maskLogits, mask, rows, logits);
}

void logProbabilities(In logits, In ids, Out ranks, Out top, Out logprobs) {
  Check check("logProbabilities");
  check.tensor("logits", logits).rank(2).dtype(DType::f32).rows();
  check.tensor("ids", ids).shape({logits.size(0)}).dtype(DType::i32).dense();
  check.tensor("ranks", ranks).shape({logits.size(0)}).dtype(DType::i32).dense();
  check.tensor("top", top).rank(2).shape({logits.size(0), top.size(1)}).dtype(DType::i32).rows();
  check.that(top.size(1) <= logits.size(1), "at most as many columns as logits");
  check.tensor("logprobs", logprobs).shape({logits.size(0), 1 + top.size(1)}).dtype(DType::f32).rows();
  check.enqueue(&Backend::logProbabilities, logits, ids, ranks, top, logprobs);
}

}  // namespace mora::operations
