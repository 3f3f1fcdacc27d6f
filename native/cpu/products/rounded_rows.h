// Rounds rows of numbers to 8-bit integers.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// Changes to the values of a row [k] before rounding.
struct RowChange {
  const float* factors = nullptr;  // [k] factors of the values; may be null
  /// Multiplies a row by an orthonormal matrix H if k is a multiple of 16: every 16 values that are k / 16 apart by
  /// Hadamard's. This spreads an outlier over sixteen values, so all values of the row keep more digits (QuaRot, arXiv
  /// 2404.00456). (a H) (b H)^T = a b^T.
  bool spreads = false;
};

/// Codes of a [m, k], dense, and a scale for each row: value = scale code.
struct RoundedRows {
  int8_t* codes;
  float* scales;
  /// If present, also -128 times the sum of each row's codes, which corrects products with unsigned codes.
  float* corrections = nullptr;
  bool isUnsigned = false;
};

/// Rounds a [m, k] of any float type to nearest. A row with non-finite values gets the scale NaN, so that all its
/// products are NaN.
void roundRows(const TensorDesc& a, RowChange change, const RoundedRows& rounded);

}  // namespace mora::cpu
