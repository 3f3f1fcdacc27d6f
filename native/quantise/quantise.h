// Floats to block formats and to NF4, rounded as the published quantisers round them.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mora::quantise {

/// Whether blocks of the type can be written.
bool isWritten(DType type);

/// Writes finite values [rows, columns] as blocks of which columns are a whole number. `importance` [columns]: the mean
/// square of what each column is multiplied with; null where it is unknown.
void writeBlocks(DType type, const float* values, int64_t rows, int64_t columns, const float* importance, int threads,
                 uint8_t* blocks);

inline constexpr int64_t kNf4Block = 64;

/// NF4 (arXiv 2305.14314) as bitsandbytes makes it: codes of `count` values, an even number, two to a byte and the
/// first in the high half; for each 64 of them the largest without its sign.
void writeNf4(const float* values, int64_t count, int threads, uint8_t* codes, float* scales);

/// The value of each code of NF4: quantiles of the normal distribution, of which the first and last are -1 and 1.
extern const float kNf4Values[16];

}  // namespace mora::quantise
