// Blocks of 256 values of GGUF on the device: groups of 16 or 32 values have small integer scales, which are multiplied
// by the block's f16 scales. cpu/stored/dequantise_long_blocks-inl.h describes the formats.
#pragma once
#include "cuda/stored/dequantise_short_blocks.h"

namespace mora::cuda {

template <>
__device__ __forceinline__ void unpackEight<DType::q2_k>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 16, shift = group % 8 / 2 * 2;
  const uint8_t* const codes = block + 16 + group / 8 * 32 + first % 32;
  const float scale = halfAt(block + 80) * static_cast<float>(block[group] & 15);
  const float minimum = halfAt(block + 82) * static_cast<float>(block[group] >> 4);
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = scale * static_cast<float>(codes[i] >> shift & 3) - minimum;
}

template <>
__device__ __forceinline__ void unpackEight<DType::q3_k>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 16, shift = group % 8 / 2 * 2, bit = group / 2;
  const uint8_t* const scales = block + 96;
  const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
  const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
  const float scale = halfAt(block + 108) * static_cast<float>((low | high << 4) - 32);
  const uint8_t* const third = block + first % 32;
  const uint8_t* const codes = block + 32 + group / 8 * 32 + first % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int code = (codes[i] >> shift & 3) | (third[i] >> bit & 1) << 2;
    values[i] = scale * static_cast<float>(code - 4);
  }
}

/// Scale and minimum of group 0 to 7 of a block of Q4_K or Q5_K.
struct ScaleAndMinimum {
  float scale, minimum;

  __device__ __forceinline__ ScaleAndMinimum(const uint8_t* block, int group) {
    const uint8_t* const packed = block + 4;
    int small = packed[group] & 63, smallMinimum = packed[group + 4] & 63;
    if (group >= 4) {
      small = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
      smallMinimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
    scale = halfAt(block) * static_cast<float>(small);
    minimum = halfAt(block + 2) * static_cast<float>(smallMinimum);
  }
};

template <>
__device__ __forceinline__ void unpackEight<DType::q4_k>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 32, shift = group % 2 * 4;
  const ScaleAndMinimum of(block, group);
  const uint8_t* const codes = block + 16 + group / 2 * 32 + first % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = of.scale * static_cast<float>(codes[i] >> shift & 15) - of.minimum;
}

template <>
__device__ __forceinline__ void unpackEight<DType::q5_k>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 32, shift = group % 2 * 4;
  const ScaleAndMinimum of(block, group);
  const uint8_t* const fifth = block + 16 + first % 32;
  const uint8_t* const codes = block + 48 + group / 2 * 32 + first % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int code = (codes[i] >> shift & 15) | (fifth[i] >> group & 1) << 4;
    values[i] = of.scale * static_cast<float>(code) - of.minimum;
  }
}

template <>
__device__ __forceinline__ void unpackEight<DType::q6_k>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 16, half = first / 128, quarter = first % 128 / 32;
  const uint8_t* const low = block + half * 64 + quarter % 2 * 32 + first % 32;
  const uint8_t* const high = block + 128 + half * 32 + first % 32;
  const int lowShift = quarter / 2 * 4, highShift = quarter * 2;
  const float scale = halfAt(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + group]));
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int code = (low[i] >> lowShift & 15) | (high[i] >> highShift & 3) << 4;
    values[i] = scale * static_cast<float>(code - 32);
  }
}

template <>
__device__ __forceinline__ void unpackEight<DType::iq4_xs>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 32, upper = block[2] | block[3] << 8;
  const int low = block[4 + group / 2] >> (group % 2 * 4) & 15, high = upper >> (group * 2) & 3;
  const float scale = halfAt(block) * static_cast<float>((low | high << 4) - 32);
  forCodes(block + 8 + group * 16, first % 32, [&](int i, int code) { values[i] = scale * iq4Level(code); });
}

/// Ternary digit `digit` of a byte, minus 1; digit 0 is the most significant.
__device__ __forceinline__ float ternaryAt(uint8_t byte, int digit) {
  int power = 1;
  for (int i = 0; i < digit; ++i) power *= 3;
  return static_cast<float>(((byte * power & 255) * 3 >> 8) - 1);
}

template <>
__device__ __forceinline__ void unpackEight<DType::tq1_0>(const uint8_t* block, int first, float (&values)[8]) {
  // Values are ordered digit by digit over 32 bytes of five digits, then 16 of five, then 4 of four.
  const int start = first < 160 ? 0 : first < 240 ? 160 : 240;
  const int bytes = first < 160 ? 32 : first < 240 ? 16 : 4;
  const uint8_t* const from = block + start / 5;
  const float scale = halfAt(block + 52);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int at = first - start + i;
    values[i] = scale * ternaryAt(from[at % bytes], at / bytes);
  }
}

template <>
__device__ __forceinline__ void unpackEight<DType::tq2_0>(const uint8_t* block, int first, float (&values)[8]) {
  const int group = first / 32, shift = group % 4 * 2;
  const uint8_t* const codes = block + group / 4 * 32 + first % 32;
  const float scale = halfAt(block + 64);
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = scale * static_cast<float>((codes[i] >> shift & 3) - 1);
}

}  // namespace mora::cuda
