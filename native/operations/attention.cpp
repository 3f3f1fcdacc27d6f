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

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& queryOffsets, const Tensor& keyOffsets,
               AttentionScoring scoring, const Tensor& out, const Tensor& lse) {
  Check check("attention");
  checkAttention(check, q, k, v, queryOffsets, keyOffsets, scoring);
  check.tensor("out", out).sameShape(q).dtype(q.dtype()).rows();
  if (lse) check.tensor("lse", lse).shape({q.size(1), q.size(0)}).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, attention, q.desc(), k.desc(), v.desc(), queryOffsets.desc(), keyOffsets.desc(), scoring,
               out.desc(), optional(lse));
}

void attentionBackward(const Tensor& dOut, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                       const Tensor& lse, const Tensor& queryOffsets, const Tensor& keyOffsets,
                       AttentionScoring scoring, const Tensor& dQ, const Tensor& dK, const Tensor& dV) {
  Check check("attentionBackward");
  checkAttention(check, q, k, v, queryOffsets, keyOffsets, scoring);
  check.tensor("dOut", dOut).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("out", out).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("lse", lse).shape({q.size(1), q.size(0)}).dtype(DType::f32).dense();
  check.tensor("dQ", dQ).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("dK", dK).sameShape(k).dtype(q.dtype()).rows();
  check.tensor("dV", dV).sameShape(k).dtype(q.dtype()).rows();
  MORA_ENQUEUE(check, attentionBackward, dOut.desc(), q.desc(), k.desc(), v.desc(), out.desc(), lse.desc(),
               queryOffsets.desc(), keyOffsets.desc(), scoring, dQ.desc(), dK.desc(), dV.desc());
}

}  // namespace mora::operations
