// Converts rows of numbers between float types.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mora::cpu {

/// target[0, count) = (accumulate ? target : 0) + scale * source, computed in f32 and rounded once; f32, bf16 and f16
/// in any combination. Rows may be the same memory if the types agree.
void convertRow(DType sourceType, const void* source, DType targetType, void* target, int64_t count, float scale = 1,
                bool accumulate = false);

}  // namespace mora::cpu
