// Rotary embeddings, activations, dropout.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void rope(const Tensor& x, const Tensor& positions, const Tensor& cosines, const Tensor& sines, bool inverse) {
  Check check("rope");
  check.tensor("x", x).rank(3).floats().rows();
  check.tensor("positions", positions).shape({x.size(0)}).dtype(DType::i32).dense();
  check.tensor("cosines", cosines).rank(2).dtype(DType::f32).dense();
  check.that(2 * cosines.size(1) <= x.size(2), [&] { return "at most " + std::to_string(x.size(2) / 2) + " columns"; });
  check.tensor("sines", sines).sameShape(cosines).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, rope, x.desc(), positions.desc(), cosines.desc(), sines.desc(), inverse);
}

void activation(Activation f, const Tensor& gate, const Tensor& up, const Tensor& y) {
  Check check("activation");
  check.tensor("gate", gate).rank(2).floats().rows();
  if (up) checkRowsLike(check, "up", up, gate);
  checkRowsLike(check, "y", y, gate);
  MORA_ENQUEUE(check, activation, f, gate.desc(), optional(up), y.desc());
}

void activationBackward(Activation f, const Tensor& dY, const Tensor& gate, const Tensor& up, const Tensor& dGate,
                        const Tensor& dUp) {
  Check check("activationBackward");
  check.tensor("gate", gate).rank(2).floats().rows();
  checkRowsLike(check, "dY", dY, gate);
  checkRowsLike(check, "dGate", dGate, gate);
  if (up || dUp) {
    checkRowsLike(check, "up", up, gate);
    checkRowsLike(check, "dUp", dUp, gate);
  }
  MORA_ENQUEUE(check, activationBackward, f, dY.desc(), gate.desc(), optional(up), dGate.desc(), optional(dUp));
}

void dropout(const Tensor& x, const Tensor& rowKeys, DropoutKey key, const Tensor& y) {
  Check check("dropout");
  check.tensor("x", x).rank(2).floats().rows();
  check.that(key.probability >= 0 && key.probability < 1, "a probability in [0, 1)");
  check.tensor("rowKeys", rowKeys).shape({x.size(0)}).dtype(DType::i64).dense();
  check.tensor("y", y).sameShape(x).dtype(x.dtype()).rows();
  MORA_ENQUEUE(check, dropout, x.desc(), rowKeys.desc(), key, y.desc());
}

}  // namespace mora::operations
