// Products of a few rows of activations with a frozen weight, as in generating one token: memory bandwidth is the
// limit, so a weight is read once, in its stored form.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// The largest number of rows for which such products are chosen because they are faster.
constexpr int64_t kFewRows = 8;
/// The largest number of rows of such products. A row's sums do not depend on their number.
constexpr int64_t kMostFewRows = 32;

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0) for at most kMostFewRows rows and a weight in
/// blocks whose rows are contiguous.
///
/// Activations become 16-bit fixed-point numbers with one scale for each 32 values, s = max |a| / 32639 rounded to f32,
/// and are multiplied with the weight's integer codes in exact integer sums; sums of blocks are added in f32. So the
/// error is at most half of s times the sum of the weight's magnitudes, plus that of f32 sums: less than the error of
/// rounding activations to bf16. Without an instruction that multiplies bytes, rare formats are multiplied in f32.
void multiplyFewRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate);

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0) for at most kMostFewRows rows and a matrix of
/// codes, in f32.
void multiplyFewRows(const TensorDesc& a, const CodedMatrix& weight, const TensorDesc& c, float alpha, bool accumulate);

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0) for at most kMostFewRows rows in f32 sums, for
/// floats of any type whose rows are contiguous.
void multiplyFewFloats(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                       bool accumulate);

}  // namespace mora::cpu
