// Values of frozen weights, which may be stored in GGUF's block formats.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mora::cpu {

/// values [count] (f32) = what `blocks` hold: whole blocks of a block format, or plain f32, bf16 or f16. `count` is a
/// multiple of the block size. Bit-exact: every product of scales and codes fits f32's significand.
/// Throws std::invalid_argument for other types.
void dequantiseRow(DType type, const void* blocks, int64_t count, float* values);

}  // namespace mora::cpu
