// Products of two matrices, or batches of them, of one float type, computed by oneDNN.
#pragma once
#include "cpu/tensor_view.h"

namespace mora::cpu {

/// c = alpha op(a) op(b) (+ c), summed in f32; c may be f32 too. No operand may be empty.
void multiplyFloats(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                    float alpha, bool accumulate);

/// Whether oneDNN multiplies bf16 on this processor.
bool onednnHasBfloat16();

}  // namespace mora::cpu
