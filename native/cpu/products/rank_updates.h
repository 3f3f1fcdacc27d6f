// Products whose summed dimension is short, as of LoRA's B with what A made of the activations: c is read and written
// once.
#pragma once
#include "core/backend.h"

namespace mora::cpu {

/// Whether multiplyRankUpdate computes c = a op(b), and faster than other kernels do on this processor.
bool prefersRankUpdate(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c);

/// c [m, n] = alpha a [m, k] op(b) [k, n] + (accumulate ? c : 0) in f32 sums, for a and b in bf16 and a short k.
void multiplyRankUpdate(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, float alpha,
                        bool accumulate);

}  // namespace mora::cpu
