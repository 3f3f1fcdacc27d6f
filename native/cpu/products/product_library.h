// The library that multiplies matrices: oneDNN (cpu/onednn), or where that is absent a BLAS (cpu/blas), as the build
// chose.
#pragma once
#include <string>
#include <utility>

#include "cpu/tensor_view.h"

namespace mora::cpu {

/// c = alpha op(a) op(b) (+ c) for two matrices, or batches of them, of one float type, summed in f32; c may be f32 too.
/// bf16 only if multipliesBfloat16(). No operand may be empty.
void multiplyFloats(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                    float alpha, bool accumulate);

/// Whether multiplyFloats takes bf16 on this processor.
bool multipliesBfloat16();
/// Whether large products of bf16 take longer than those of f32.
bool slowBfloat16();
/// True if the processor multiplies bfloat16 faster than float32.
bool hasFastBfloat16();
/// True if matmulInt8 multiplies 8-bit integers with exact sums.
bool hasInt8Products();

/// The library's name and version.
std::pair<std::string, std::string> productLibrary();
/// What the library uses on this processor, for people.
std::string productInstructions();

}  // namespace mora::cpu
