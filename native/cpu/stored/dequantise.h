// Values of frozen weights, plain or in GGUF's block formats.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mora::cpu {

/// values [count], in f32, bf16 or f16, = the content of `blocks`: whole blocks of a block format, or plain f32, bf16
/// or f16. `count` is a multiple of the block size. Rounded once, since every product of scales and codes fits f32's
/// significand. Throws std::invalid_argument for other types.
void dequantiseRow(DType type, const void* blocks, int64_t count, DType targetType, void* values);

}  // namespace mora::cpu
