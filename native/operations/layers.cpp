// Rotary embeddings, activations, dropout, convolutions.
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

}  // namespace mora::operations
