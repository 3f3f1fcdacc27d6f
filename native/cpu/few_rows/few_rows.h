// Products of a few rows of activations with a frozen weight, as when one token is generated: memory bandwidth is the
// limit, so a weight is read once, in the form in which it is stored.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// The most rows that such products take.
constexpr int64_t kFewRows = 8;

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0) for at most kFewRows rows and a weight in blocks
/// whose rows are contiguous.
///
/// Activations become 16-bit fixed-point numbers with one scale for each 32 values, s = max |a| / 32639 rounded to f32,
/// and meet the weight's integer codes in exact integer sums; sums of blocks are added in f32. So the error is at most
/// half of s times the sum of the weight's sizes, beside f32 sums: less than rounding activations to bf16 costs. Where
/// no instruction multiplies bytes, formats that few files have are multiplied in f32.
void multiplyFewRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate);

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0) for at most kFewRows rows and a matrix of codes,
/// whose values are used in f32, with f32 sums.
void multiplyFewRows(const TensorDesc& a, const CodedMatrix& weight, const TensorDesc& c, float alpha, bool accumulate);

/// c [1, n] = alpha a [1, k] weight [n, k]^T + (accumulate ? c : 0) in f32 sums, for floats of any type whose rows are
/// contiguous.
void multiplyOneRow(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha, bool accumulate);

}  // namespace mora::cpu
