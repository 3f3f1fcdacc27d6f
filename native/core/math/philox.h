// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011):
// four random words are a pure function of a 128-bit counter and a 64-bit key, so any element of a stream can be drawn
// on its own, in any order, on any device.
//
// Known answers (counter | key -> words), from the authors' Random123 distribution:
//   00000000 00000000 00000000 00000000 | 00000000 00000000 -> 6627e8d5 e169c58d bc57ac4c 9b00dbd8
//   ffffffff ffffffff ffffffff ffffffff | ffffffff ffffffff -> 408f276d 41c83b0e a20bc7c6 6d5451fd
//   243f6a88 85a308d3 13198a2e 03707344 | a4093822 299f31d0 -> d16cfe09 94fdcceb 5001e420 24126ea1
#pragma once
#include <cstddef>
#include <cstdint>

#include "mora/geometry.h"  // MORA_HOST_DEVICE

namespace mora {

/// Constants of Philox4x32: multipliers of words 0 and 2, and what each round adds to the key.
constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier2 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  uint32_t word[4];
};

/// The four words of `counter` under (key0, key1).
MORA_HOST_DEVICE inline PhiloxWords philox4x32(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  PhiloxWords state = counter;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * state.word[0];
    const uint64_t product2 = static_cast<uint64_t>(kPhiloxMultiplier2) * state.word[2];
    state = {{static_cast<uint32_t>(product2 >> 32) ^ state.word[1] ^ key0, static_cast<uint32_t>(product2),
              static_cast<uint32_t>(product0 >> 32) ^ state.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return state;
}

/// Counter of the dropout words of columns [4 * columnGroup, 4 * columnGroup + 4) of the row that `rowKey` names.
MORA_HOST_DEVICE inline PhiloxWords dropoutCounter(int64_t rowKey, uint32_t columnGroup) {
  const uint64_t bits = static_cast<uint64_t>(rowKey);
  return {{static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32), columnGroup, 0}};
}

/// Uniform number in [0, 1): the upper 24 bits of a word, exact in float32.
MORA_HOST_DEVICE inline float philoxUniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// Uniform number in [0, 1) of 53 bits, made from two words as in lib/common/random.ts.
inline double philoxUniform(uint32_t high, uint32_t low) { return ((high >> 5) * 0x1p26 + (low >> 6)) * 0x1p-53; }

/// Numbers of U(-bound, bound), each made from two words of the stream of (key0, key1), starting at word `first`.
inline void philoxUniforms(float* values, size_t count, uint32_t key0, uint32_t key1, uint64_t first, double bound) {
  PhiloxWords words{};
  uint64_t at = first;
  const auto next = [&] {
    if (at == first || at % 4 == 0)
      words = philox4x32({{static_cast<uint32_t>(at / 4), static_cast<uint32_t>(at / 4 >> 32), 0, 0}}, key0, key1);
    return words.word[at++ % 4];
  };
  for (size_t i = 0; i < count; ++i) {
    const uint32_t high = next(), low = next();
    values[i] = static_cast<float>((2 * philoxUniform(high, low) - 1) * bound);
  }
}

}  // namespace mora
