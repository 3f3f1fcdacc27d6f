// Rows of numbers as 8-bit integers.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// What is done to the values of a row [k] before they are rounded.
struct RowChange {
  const float* factors = nullptr;  // [k]: multiplies them
  /// Multiplies a row by an orthonormal matrix H where k is a multiple of 16: every 16 values that lie k / 16 apart by
  /// Hadamard's. A value that stands out is spread over sixteen, and all of the row keeps more digits (QuaRot, arXiv
  /// 2404.00456). (a H) (b H)^T = a b^T.
  bool spreads = false;
};

/// Codes of a [m, k], dense, and a scale for each row: value = scale code.
struct RoundedRows {
  int8_t* codes;
  float* scales;
  /// Where present, also -128 times the sum of each row's values: what unsigned codes add to products with the row.
  float* corrections = nullptr;
  bool isUnsigned = false;
};

/// Rounds a [m, k] of any float type to nearest. A row with values that are not finite has NaN for its scale, so that
/// every product with it is NaN.
void roundRows(const TensorDesc& a, RowChange change, const RoundedRows& rounded);

}  // namespace mora::cpu
