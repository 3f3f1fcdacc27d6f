// Attention over packed documents.
#include <cmath>

#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

namespace {

void checkAttention(Check& check, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& queryOffsets,
                    const Tensor& keyOffsets, AttentionScoring scoring) {
  const auto require = [&](bool holds, const char* expected, double received) {
    if (holds) return;
    throw Error("invalid-argument", std::string(check.operation()) + ": expected " + expected + " but received " +
                                        std::to_string(received) + ".");
  };
  require(scoring.scale > 0 && std::isfinite(scoring.scale), "a positive finite scale", scoring.scale);
  require(scoring.softcap >= 0 && std::isfinite(scoring.softcap), "a softcap of 0 or more", scoring.softcap);
  require(scoring.window >= 0, "a window of 0 or more keys", static_cast<double>(scoring.window));
  check.tensor("q", q).rank(3).floats().rows();
  check.tensor("k", k).rank(3).dtype(q.dtype()).rows().that(k.size(2) == q.size(2), "the head size of q");
  check.that(k.size(1) > 0 && q.size(1) % k.size(1) == 0,
             [&] { return "a divisor of " + std::to_string(q.size(1)) + " heads"; });
  check.tensor("v", v).sameShape(k).dtype(q.dtype()).rows();
  check.tensor("queryOffsets", queryOffsets).rank(1).dtype(DType::i32).dense();
  check.that(queryOffsets.size(0) >= 1, "at least one offset");
  check.tensor("keyOffsets", keyOffsets).sameShape(queryOffsets).dtype(DType::i32).dense();
}

}  // namespace

void attention(In q, In k, In v, In queryOffsets, In keyOffsets, AttentionScoring scoring, Out out, Optional lse,
               Optional keyRows) {
  Check check("attention");
  checkAttention(check, q, k, v, queryOffsets, keyOffsets, scoring);
  check.tensor("out", out).sameShape(q).dtype(q.dtype()).rows();
  if (lse) check.tensor("lse", lse).shape({q.size(1), q.size(0)}).dtype(DType::f32).dense();
  if (keyRows) check.tensor("keyRows", keyRows).rank(1).dtype(DType::i32).dense();
  check.enqueue(&Backend::attention, q, k, v, queryOffsets, keyOffsets, scoring, out, lse, keyRows);
}

void attentionBackward(In dOut, In q, In k, In v, In out, In lse, In queryOffsets, In keyOffsets,
                       AttentionScoring scoring, Out dQ, Out dK, Out dV) {
  Check check("attentionBackward");
  checkAttention(check, q, k, v, queryOffsets, keyOffsets, scoring);
  check.tensor("dOut", dOut).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("out", out).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("lse", lse).shape({q.size(1), q.size(0)}).dtype(DType::f32).dense();
  check.tensor("dQ", dQ).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("dK", dK).sameShape(k).dtype(q.dtype()).rows();
  check.tensor("dV", dV).sameShape(k).dtype(q.dtype()).rows();
  check.enqueue(&Backend::attentionBackward, dOut, q, k, v, out, lse, queryOffsets, keyOffsets, scoring, dQ, dK, dV);
}

}  // namespace mora::operations
