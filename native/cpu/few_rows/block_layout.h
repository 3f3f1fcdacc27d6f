// The layout of GGUF's blocks for products: value = scale (code - centre) + offset, with one scale for 32 values or for
// 16. The functions of stored/dequantise_*-inl.h describe the formats completely.
#pragma once
#include <string>
#include <type_traits>

#include "core/dtype.h"

namespace mora::cpu {

/// Values of a group: a block has one or eight.
constexpr int64_t kGroup = 32;

struct BlockLayout {
  int codes;           // where codes, or their lower bits, start [bytes]
  int upperBits = -1;  // where their upper bits start [bytes]
  int centre = 0;      // of unsigned codes; added to the signed codes of Q8_0 and the levels of tables
  bool hasOffset = false;
  bool inHalves = false;  // whether each half of a group has its own scale
};

constexpr BlockLayout layoutOf(DType type) {
  switch (type) {
    case DType::q4_0:
      return {.codes = 2, .centre = 8};
    case DType::q4_1:
      return {.codes = 4, .hasOffset = true};
    case DType::q5_0:
      return {.codes = 6, .upperBits = 2, .centre = 16};
    case DType::q5_1:
      return {.codes = 8, .upperBits = 4, .hasOffset = true};
    case DType::q8_0:
      return {.codes = 2, .centre = 128};
    case DType::iq4_nl:
      return {.codes = 2, .centre = 128};
    case DType::mxfp4:
      return {.codes = 1, .centre = 128};
    case DType::q2_k:
      return {.codes = 16, .hasOffset = true, .inHalves = true};
    case DType::q3_k:
      return {.codes = 32, .upperBits = 0, .centre = 4, .inHalves = true};
    case DType::q4_k:
      return {.codes = 16, .hasOffset = true};
    case DType::q5_k:
      return {.codes = 48, .upperBits = 16, .hasOffset = true};
    case DType::q6_k:
      return {.codes = 0, .upperBits = 128, .centre = 32, .inHalves = true};
    case DType::iq4_xs:
      return {.codes = 8, .centre = 128};
    default:  // ternary digits
      return {.codes = 0, .centre = 1};
  }
}

/// The base of kernels' descriptions of a format.
template <DType type>
struct BlockFormat {
  static constexpr DType kType = type;
  static constexpr BlockLayout kLayout = layoutOf(type);
  static constexpr int64_t kBytes = traitsOf(type).blockBytes;
  static constexpr int64_t kGroups = traitsOf(type).blockSize / kGroup;
};

/// Calls body(constant) with an integral constant of a block format.
template <typename Body>
void withBlockType(DType type, const char* operation, Body&& body) {
  switch (type) {
    case DType::q4_0:
      return body(std::integral_constant<DType, DType::q4_0>());
    case DType::q4_1:
      return body(std::integral_constant<DType, DType::q4_1>());
    case DType::q5_0:
      return body(std::integral_constant<DType, DType::q5_0>());
    case DType::q5_1:
      return body(std::integral_constant<DType, DType::q5_1>());
    case DType::q8_0:
      return body(std::integral_constant<DType, DType::q8_0>());
    case DType::q2_k:
      return body(std::integral_constant<DType, DType::q2_k>());
    case DType::q3_k:
      return body(std::integral_constant<DType, DType::q3_k>());
    case DType::q4_k:
      return body(std::integral_constant<DType, DType::q4_k>());
    case DType::q5_k:
      return body(std::integral_constant<DType, DType::q5_k>());
    case DType::q6_k:
      return body(std::integral_constant<DType, DType::q6_k>());
    case DType::iq4_nl:
      return body(std::integral_constant<DType, DType::iq4_nl>());
    case DType::iq4_xs:
      return body(std::integral_constant<DType, DType::iq4_xs>());
    case DType::mxfp4:
      return body(std::integral_constant<DType, DType::mxfp4>());
    case DType::tq1_0:
      return body(std::integral_constant<DType, DType::tq1_0>());
    case DType::tq2_0:
      return body(std::integral_constant<DType, DType::tq2_0>());
    default:
      unsupported(std::string(operation) + " of " + traitsOf(type).name);
  }
}

}  // namespace mora::cpu
