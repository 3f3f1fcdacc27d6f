// Floats to block formats and to NF4, rounded as the published quantisers round them.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mora::quantise {

/// Whether blocks of the type can be written.
bool isWritten(DType type);

/// Writes finite values [rows, columns] as blocks; columns are a whole number of blocks. `importance` [columns] is the
/// mean square of each column's inputs; null if unknown.
void writeBlocks(DType type, const float* values, int64_t rows, int64_t columns, const float* importance, int threads,
                 uint8_t* blocks);

inline constexpr int64_t kNf4Block = 64;

/// NF4 (arXiv 2305.14314) as in bitsandbytes: codes of `count` values, an even number, two to a byte with the first in
/// the high half; for each 64 values their largest magnitude.
void writeNf4(const float* values, int64_t count, int threads, uint8_t* codes, float* scales);

/// The value of each NF4 code: quantiles of the normal distribution, the first and last of which are -1 and 1.
extern const float kNf4Values[16];

}  // namespace mora::quantise
