// float16 of CUDA as storage: conversions and pairs, no arithmetic. Conversions round to the nearest even value; NaN
// becomes 0x7fff, as on a GPU.
#pragma once
#include <bit>
#include <cstdint>

#include "simt/kernels/vector_types.h"

struct __half {
  unsigned short bits;
};
using half = __half;

struct alignas(4) __half2 {
  __half x, y;
};
using half2 = __half2;

constexpr float __half2float(__half value) {
  const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16, magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | magnitude << 13);
  if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
  const float small = static_cast<float>(magnitude) * 0x1p-24f;
  return sign ? -small : small;
}

constexpr __half __float2half_rn(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {0x7fff};
  uint32_t result = 0x7c00u;
  if (magnitude < 0x38800000u) {
    // Below the smallest normal value: adding 0.5 leaves the multiple of 2^-24 in the last bits, rounded.
    result = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else if (magnitude < 0x477ff000u) {
    result = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13;
  }
  return {static_cast<unsigned short>(sign | result)};
}
constexpr __half __float2half(float value) { return __float2half_rn(value); }

constexpr __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
constexpr __half2 __float22half2_rn(float2 value) { return __floats2half2_rn(value.x, value.y); }
constexpr float2 __half22float2(__half2 pair) { return {__half2float(pair.x), __half2float(pair.y)}; }
constexpr float __low2float(__half2 pair) { return __half2float(pair.x); }
constexpr float __high2float(__half2 pair) { return __half2float(pair.y); }
constexpr __half2 __halves2half2(__half x, __half y) { return {x, y}; }
constexpr unsigned short __half_as_ushort(__half value) { return value.bits; }
constexpr __half __ushort_as_half(unsigned short bits) { return {bits}; }
