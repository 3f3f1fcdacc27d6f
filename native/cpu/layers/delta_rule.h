// The operands of the gated delta rule and of its gradient, for every instruction set.
#pragma once
#include <cmath>

#include "cpu/tensor_view.h"

namespace mora::cpu {

/// Tensors that a pass does not have are absent.
struct DeltaRule {
  TensorDesc q, k, v, g, beta, state;
  const int32_t* offsets = nullptr;
  TensorDesc y = {}, finalState = {};                                                            // of the forward pass
  TensorDesc dY = {}, dFinal = {}, dQ = {}, dK = {}, dV = {}, dG = {}, dBeta = {}, dState = {};  // of the backward pass

  int64_t keySize() const { return q.shape[2]; }
  int64_t valueSize() const { return v.shape[2]; }
  int64_t keyHeads() const { return q.shape[1]; }
  int64_t valueHeads() const { return v.shape[1]; }
  float queryScale() const { return 1 / std::sqrt(static_cast<float>(keySize())); }
  int64_t group() const { return valueHeads() / keyHeads(); }

  /// The matrix [keySize, valueSize] of a document's value head in states, or null if these are absent.
  float* stateOf(const TensorDesc& states, int64_t document, int64_t head) const {
    const int64_t index = document * valueHeads() + head;
    return present(states) ? static_cast<float*>(states.data) + index * keySize() * valueSize() : nullptr;
  }
};

}  // namespace mora::cpu
