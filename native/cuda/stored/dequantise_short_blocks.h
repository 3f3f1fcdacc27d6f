// Blocks of 32 values of GGUF on the device, and helpers for all its blocks. unpackEight<Type> is the work of one
// thread: eight neighbouring values of a block from `first`, a multiple of 8. cpu/stored/dequantise_short_blocks-inl.h
// describes the formats; results have the same bits, since every product of scales and codes is exact.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "cuda/device_code.h"

namespace mora::cuda {

/// values = values [first, first + 8) of the block.
template <DType Type>
__device__ void unpackEight(const uint8_t* block, int first, float (&values)[8]);

/// The f16 at `bytes`, exact, with infinities and NaN.
__device__ __forceinline__ float halfAt(const uint8_t* bytes) {
  const uint32_t bits = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8;
  const uint32_t sign = (bits & 0x8000) << 16, magnitude = (bits & 0x7FFF) << 13;
  // The exponents' biases differ by 112; a product also scales subnormal numbers correctly.
  const uint32_t finite = __float_as_uint(__uint_as_float(magnitude) * 0x1p112f);
  return __uint_as_float(sign | (magnitude < 0x0F800000 ? finite : magnitude | 0x7F800000));
}

__device__ __forceinline__ uint32_t wordAt(const uint8_t* bytes) {
  return bytes[0] | static_cast<uint32_t>(bytes[1]) << 8 | static_cast<uint32_t>(bytes[2]) << 16 |
         static_cast<uint32_t>(bytes[3]) << 24;
}

/// Calls body(i, code) for eight codes, from value `first` on, of 16 bytes with 32 codes of 4 bits: the low halves are
/// the first 16 values, the high halves the last.
template <typename Body>
__device__ __forceinline__ void forCodes(const uint8_t* pairs, int first, Body&& body) {
#pragma unroll
  for (int i = 0; i < 8; ++i) body(i, pairs[first % 16 + i] >> (first / 16 * 4) & 15);
}

/// Level `code` of sixteen signed bytes, in order from the lowest byte of the first word: a table without memory
/// accesses.
__device__ __forceinline__ float levelAt(int code, uint32_t first, uint32_t second, uint32_t third, uint32_t fourth) {
  const auto byte = static_cast<unsigned>(code & 7);
  const uint32_t picked = code & 8 ? __byte_perm(third, fourth, byte) : __byte_perm(first, second, byte);
  return static_cast<float>(static_cast<int8_t>(picked & 255));
}

/// Levels of the 4-bit codes of IQ4: -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113.
__device__ __forceinline__ float iq4Level(int code) {
  return levelAt(code, 0xBFAD9881, 0xF6EADDCF, 0x26190D01, 0x71594535);
}
/// Twice the numbers of FP4 (E2M1): 0 1 2 3, 4 6 8 12 and their negatives; its negative zero becomes plain zero.
__device__ __forceinline__ float fp4Doubled(int code) {
  return levelAt(code, 0x03020100, 0x0C080604, 0xFDFEFF00, 0xF4F8FAFC);
}

template <>
__device__ __forceinline__ void unpackEight<DType::q4_0>(const uint8_t* block, int first, float (&values)[8]) {
  const float scale = halfAt(block);
  forCodes(block + 2, first, [&](int i, int code) { values[i] = scale * static_cast<float>(code - 8); });
}

template <>
__device__ __forceinline__ void unpackEight<DType::q4_1>(const uint8_t* block, int first, float (&values)[8]) {
  const float scale = halfAt(block), minimum = halfAt(block + 2);
  forCodes(block + 4, first, [&](int i, int code) { values[i] = scale * static_cast<float>(code) + minimum; });
}

template <>
__device__ __forceinline__ void unpackEight<DType::q5_0>(const uint8_t* block, int first, float (&values)[8]) {
  const float scale = halfAt(block);
  const int fifth = static_cast<int>(wordAt(block + 2) >> first & 255);
  forCodes(block + 6, first,
           [&](int i, int code) { values[i] = scale * static_cast<float>((code | (fifth >> i & 1) << 4) - 16); });
}

template <>
__device__ __forceinline__ void unpackEight<DType::q5_1>(const uint8_t* block, int first, float (&values)[8]) {
  const float scale = halfAt(block), minimum = halfAt(block + 2);
  const int fifth = static_cast<int>(wordAt(block + 4) >> first & 255);
  forCodes(block + 8, first,
           [&](int i, int code) { values[i] = scale * static_cast<float>(code | (fifth >> i & 1) << 4) + minimum; });
}

template <>
__device__ __forceinline__ void unpackEight<DType::q8_0>(const uint8_t* block, int first, float (&values)[8]) {
  const float scale = halfAt(block);
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + first + i]));
}

template <>
__device__ __forceinline__ void unpackEight<DType::iq4_nl>(const uint8_t* block, int first, float (&values)[8]) {
  const float scale = halfAt(block);
  forCodes(block + 2, first, [&](int i, int code) { values[i] = scale * iq4Level(code); });
}

template <>
__device__ __forceinline__ void unpackEight<DType::mxfp4>(const uint8_t* block, int first, float (&values)[8]) {
  // Half of 2^(e - 127), which is subnormal for the two smallest e.
  const uint32_t exponent = block[0];
  const float half = __uint_as_float(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
  forCodes(block + 1, first, [&](int i, int code) { values[i] = half * fp4Doubled(code); });
}

}  // namespace mora::cuda
