// Rotary embeddings, activations, dropout, convolutions, the gated delta rule.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void rope(InOut x, In positions, In cosines, In sines, Flag inverse) {
  Check check("rope");
  check.tensor("x", x).rank(3).floats().rows();
  check.tensor("positions", positions).shape({x.size(0)}).dtype(DType::i32).dense();
  check.tensor("cosines", cosines).rank(2).dtype(DType::f32).dense();
  check.that(2 * cosines.size(1) <= x.size(2), [&] { return "at most " + std::to_string(x.size(2) / 2) + " columns"; });
  check.tensor("sines", sines).sameShape(cosines).dtype(DType::f32).dense();
  check.enqueue(&Backend::rope, x, positions, cosines, sines, inverse);
}

void activation(Activation f, In gate, Optional up, Out y) {
  Check check("activation");
  check.tensor("gate", gate).rank(2).floats().rows();
  if (up) checkRowsLike(check, "up", up, gate);
  checkRowsLike(check, "y", y, gate);
  check.enqueue(&Backend::activation, f, gate, up, y);
}

void activationBackward(Activation f, In dY, In gate, Optional up, Out dGate, Optional dUp) {
  Check check("activationBackward");
  check.tensor("gate", gate).rank(2).floats().rows();
  checkRowsLike(check, "dY", dY, gate);
  checkRowsLike(check, "dGate", dGate, gate);
  if (up || dUp) {
    checkRowsLike(check, "up", up, gate);
    checkRowsLike(check, "dUp", dUp, gate);
  }
  check.enqueue(&Backend::activationBackward, f, dY, gate, up, dGate, dUp);
}

void dropout(In x, In rowKeys, DropoutKey key, Out y) {
  Check check("dropout");
  check.tensor("x", x).rank(2).floats().rows();
  check.that(key.probability >= 0 && key.probability < 1, "a probability in [0, 1)");
  check.tensor("rowKeys", rowKeys).shape({x.size(0)}).dtype(DType::i64).dense();
  check.tensor("y", y).sameShape(x).dtype(x.dtype()).rows();
  check.enqueue(&Backend::dropout, x, rowKeys, key, y);
}

namespace {

void checkConvolution(Check& check, In x, In kernel, In offsets) {
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("kernel", kernel).rank(2).dtype(DType::f32).dense();
  check.that(kernel.size(0) == x.size(1), [&] { return std::to_string(x.size(1)) + " rows"; });
  check.that(kernel.size(1) > 0, "at least one column");
  check.tensor("offsets", offsets).rank(1).dtype(DType::i32).dense();
  check.that(offsets.size(0) >= 1, "at least one offset");
}

void checkChannels(Check& check, const char* name, Optional perChannel, In x) {
  if (perChannel) check.tensor(name, perChannel).shape({x.size(1)}).dtype(DType::f32).dense();
}

}  // namespace

void causalConvolution(In x, In kernel, Optional bias, In offsets, Out y) {
  Check check("causalConvolution");
  checkConvolution(check, x, kernel, offsets);
  checkChannels(check, "bias", bias, x);
  checkRowsLike(check, "y", y, x);
  check.enqueue(&Backend::causalConvolution, x, kernel, bias, offsets, y);
}

void causalConvolutionBackward(In dY, In x, In kernel, In offsets, Out dX, Flag accumulate, Optional dKernel,
                               Optional dBias) {
  Check check("causalConvolutionBackward");
  checkConvolution(check, x, kernel, offsets);
  checkRowsLike(check, "dY", dY, x);
  checkRowsLike(check, "dX", dX, x);
  if (dKernel) check.tensor("dKernel", dKernel).sameShape(kernel).dtype(DType::f32).dense();
  checkChannels(check, "dBias", dBias, x);
  check.enqueue(&Backend::causalConvolutionBackward, dY, x, kernel, offsets, dX, accumulate, dKernel, dBias);
}

namespace {

void checkStates(Check& check, const char* name, Optional states, In q, In v, In offsets) {
  if (!states) return;
  check.tensor(name, states).shape({offsets.size(0) - 1, v.size(1), q.size(2), v.size(2)}).dtype(DType::f32).dense();
}

void checkDeltaRule(Check& check, In q, In k, In v, In g, In beta, In offsets, Optional state) {
  check.tensor("q", q).rank(3).floats().rows();
  checkRowsLike(check, "k", k, q);
  check.tensor("v", v).rank(3).dtype(q.dtype()).rows();
  check.that(v.size(0) == q.size(0), [&] { return std::to_string(q.size(0)) + " tokens"; });
  check.that(q.size(1) > 0 && v.size(1) % q.size(1) == 0,
             [&] { return "a multiple of " + std::to_string(q.size(1)) + " heads"; });
  check.tensor("g", g).shape({v.size(0), v.size(1)}).dtype(DType::f32).rows();
  check.tensor("beta", beta).sameShape(g).dtype(DType::f32).rows();
  check.tensor("offsets", offsets).rank(1).dtype(DType::i32).dense();
  check.that(offsets.size(0) >= 1, "at least one offset");
  checkStates(check, "state", state, q, v, offsets);
}

}  // namespace

void gatedDeltaRule(In q, In k, In v, In g, In beta, In offsets, Optional state, Out y, Optional finalState) {
  Check check("gatedDeltaRule");
  checkDeltaRule(check, q, k, v, g, beta, offsets, state);
  checkRowsLike(check, "y", y, v);
  checkStates(check, "finalState", finalState, q, v, offsets);
  check.enqueue(&Backend::gatedDeltaRule, q, k, v, g, beta, offsets, state, y, finalState);
}

void gatedDeltaRuleBackward(In dY, Optional dFinal, In q, In k, In v, In g, In beta, In offsets, Optional state, Out dQ,
                            Out dK, Out dV, Out dG, Out dBeta, Optional dState) {
  Check check("gatedDeltaRuleBackward");
  checkDeltaRule(check, q, k, v, g, beta, offsets, state);
  checkRowsLike(check, "dY", dY, v);
  checkStates(check, "dFinal", dFinal, q, v, offsets);
  checkRowsLike(check, "dQ", dQ, q);
  checkRowsLike(check, "dK", dK, q);
  checkRowsLike(check, "dV", dV, v);
  checkRowsLike(check, "dG", dG, g);
  checkRowsLike(check, "dBeta", dBeta, g);
  checkStates(check, "dState", dState, q, v, offsets);
  check.enqueue(&Backend::gatedDeltaRuleBackward, dY, dFinal, q, k, v, g, beta, offsets, state, dQ, dK, dV, dG, dBeta,
                dState);
}

namespace {

void checkGates(Check& check, In a, In logRate, In bias, In g, In beta) {
  check.tensor("a", a).rank(2).floats().rows();
  check.tensor("logRate", logRate).shape({a.size(1)}).dtype(DType::f32).dense();
  check.tensor("bias", bias).shape({a.size(1)}).dtype(DType::f32).dense();
  check.tensor("g", g).sameShape(a).dtype(DType::f32).rows();
  check.tensor("beta", beta).sameShape(a).dtype(DType::f32).rows();
}

}  // namespace

void deltaGates(In a, In b, In logRate, In bias, Out g, Out beta) {
  Check check("deltaGates");
  checkGates(check, a, logRate, bias, g, beta);
  checkRowsLike(check, "b", b, a);
  check.enqueue(&Backend::deltaGates, a, b, logRate, bias, g, beta);
}

void deltaGatesBackward(In dG, In dBeta, In a, In logRate, In bias, In g, In beta, Out dA, Out dB, Optional dLogRate,
                        Optional dBias) {
  Check check("deltaGatesBackward");
  checkGates(check, a, logRate, bias, g, beta);
  checkRowsLike(check, "dG", dG, g);
  checkRowsLike(check, "dBeta", dBeta, g);
  checkRowsLike(check, "dA", dA, a);
  checkRowsLike(check, "dB", dB, a);
  if (dLogRate) check.tensor("dLogRate", dLogRate).sameShape(logRate).dtype(DType::f32).dense();
  if (dBias) check.tensor("dBias", dBias).sameShape(bias).dtype(DType::f32).dense();
  check.enqueue(&Backend::deltaGatesBackward, dG, dBeta, a, logRate, bias, g, beta, dA, dB, dLogRate, dBias);
}

}  // namespace mora::operations
