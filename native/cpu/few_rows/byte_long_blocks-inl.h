// Codes and scales of GGUF's blocks of 256 values for block_bytes-inl.h, for one instruction set at a time: include it
// after hwy/foreach_target.h.
#if defined(MORA_CPU_BYTE_LONG_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_BYTE_LONG_BLOCKS_INL_H_
#undef MORA_CPU_BYTE_LONG_BLOCKS_INL_H_
#else
#define MORA_CPU_BYTE_LONG_BLOCKS_INL_H_
#endif

#include "cpu/few_rows/byte_short_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Shifts bytes by their group's number of bits, and masks bits of their neighbours with `kept`.
HWY_INLINE QuadCode shiftGroups(QuadCode bytes, const uint32_t (&shifts)[16], int kept) {
  const auto shifted = hn::Shr(hn::BitCast(QuadWords(), bytes), hn::Load(QuadWords(), shifts));
  return hn::And(hn::BitCast(QuadBytes(), shifted), everyByte(kept));
}

/// Codes of 2 bits in 32 bytes: the bits of the groups are adjacent, the first group's lowest.
HWY_INLINE QuadCodes quartersOf(const uint8_t* bytes) {
  alignas(64) static constexpr uint32_t kShifts[16] = {0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6};
  const auto part = [&](int at) HWY_ATTR { return shiftGroups(hn::LoadDup128(QuadBytes(), bytes + at), kShifts, 3); };
  return {part(0), part(16)};
}

/// codes + `value` if a bit of 32 bytes is set: bit 4 kHalf + g belongs to group g.
template <int kHalf>
HWY_INLINE QuadCodes addBits(const QuadCodes& codes, const uint8_t* bytes, int value) {
  constexpr uint32_t kBits[4] = {0x01010101u << 4 * kHalf, 0x02020202u << 4 * kHalf, 0x04040404u << 4 * kHalf,
                                 0x08080808u << 4 * kHalf};
  alignas(64) static constexpr uint32_t kOfLane[16] = {kBits[0], kBits[0], kBits[0], kBits[0], kBits[1], kBits[1],
                                                       kBits[1], kBits[1], kBits[2], kBits[2], kBits[2], kBits[2],
                                                       kBits[3], kBits[3], kBits[3], kBits[3]};
  const QuadCode bits = hn::BitCast(QuadBytes(), hn::Load(QuadWords(), kOfLane));
  const auto with = [&](QuadCode code, int at) HWY_ATTR {
    const auto isSet = hn::TestBit(hn::LoadDup128(QuadBytes(), bytes + at), bits);
    return hn::Or(code, hn::IfThenElseZero(isSet, everyByte(value)));
  };
  return {with(codes.first, 0), with(codes.last, 16)};
}

/// Two f16 numbers, repeated for each group.
HWY_INLINE QuadPairs halfPairs(const uint8_t* bytes) {
  const auto bits = hn::Set(hn::FixedTag<uint32_t, 4>(), wordAt(bytes));
  return hn::PromoteTo(QuadPairTag(), hn::BitCast(hn::FixedTag<hwy::float16_t, 8>(), bits));
}

/// Eight signed or unsigned bytes as numbers.
template <typename T>
HWY_INLINE QuadPairs pairsOfBytes(uint64_t bytes) {
  const hn::FixedTag<T, 8> eight;
  const auto own = hn::BitCast(eight, hn::Set(hn::FixedTag<uint64_t, 1>(), bytes));
  return hn::ConvertTo(QuadPairTag(), hn::PromoteTo(QuadPairIntegers(), own));
}

/// A byte repeated eight or four times.
constexpr uint64_t everyOf8(uint64_t byte) { return byte * 0x0101010101010101u; }
constexpr uint32_t everyOf4(uint32_t byte) { return byte * 0x01010101u; }

HWY_INLINE uint64_t longAt(const uint8_t* bytes) {
  return wordAt(bytes) | static_cast<uint64_t>(wordAt(bytes + 4)) << 32;
}

/// A half of a block of eight groups.
template <int kHalfOfTwo>
struct HalfBlock {
  static constexpr int kHalf = kHalfOfTwo;
  const uint8_t* block;
};

template <>
struct ByteFormat<DType::q2_k> : BlockFormat<DType::q2_k> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    return quartersOf(half.block + kLayout.codes + Half::kHalf * 32);
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const uint64_t both = longAt(half.block + Half::kHalf * 8);
    const QuadPairs unit = halfPairs(half.block + 80), minimum = hn::Neg(hn::DupOdd(unit));
    return {hn::Mul(hn::DupEven(unit), pairsOfBytes<uint8_t>(both & everyOf8(15))),
            hn::Mul(minimum, pairsOfBytes<uint8_t>(both >> 4 & everyOf8(15)))};
  }
};

template <>
struct ByteFormat<DType::q3_k> : BlockFormat<DType::q3_k> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    const QuadCodes lower = quartersOf(half.block + kLayout.codes + Half::kHalf * 32);
    return addBits<Half::kHalf>(lower, half.block + kLayout.upperBits, 4);
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const uint64_t lower = longAt(half.block + 96) >> (4 * Half::kHalf) & everyOf8(15);
    const uint32_t upper = wordAt(half.block + 104) >> (4 * Half::kHalf);
    const uint64_t upperTwo = (upper & everyOf4(3)) | static_cast<uint64_t>(upper >> 2 & everyOf4(3)) << 32;
    const QuadPairs small = pairsOfBytes<uint8_t>(lower | upperTwo << 4);
    const QuadPairs scales =
        hn::Mul(hn::DupOdd(halfPairs(half.block + 106)), hn::Sub(small, hn::Set(QuadPairTag(), 32)));
    return {scales, scales};
  }
};

template <>
struct ByteFormat<DType::q4_k> : BlockFormat<DType::q4_k> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    return codesAt(half.block + kLayout.codes + Half::kHalf * 64);
  }
  /// The halves of 32 bytes are two groups.
  static HWY_INLINE QuadCodes codesAt(const uint8_t* bytes) {
    const QuadCodes halves = halvesOf(hn::LoadU(QuadBytes(), bytes));
    return {hn::OddEvenBlocks(hn::SwapAdjacentBlocks(halves.last), halves.first),
            hn::OddEvenBlocks(halves.last, hn::SwapAdjacentBlocks(halves.first))};
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const uint32_t first = wordAt(half.block + 4), second = wordAt(half.block + 8), third = wordAt(half.block + 12);
    uint32_t scales = first & everyOf4(63), minima = second & everyOf4(63);
    if constexpr (Half::kHalf == 1) {
      scales = (third & everyOf4(15)) | (first >> 2 & everyOf4(48));
      minima = (third >> 4 & everyOf4(15)) | (second >> 2 & everyOf4(48));
    }
    const hn::FixedTag<uint32_t, 4> words;
    const hn::FixedTag<uint8_t, 16> bytes;
    const auto pairs = hn::InterleaveLower(bytes, hn::BitCast(bytes, hn::Set(words, scales)),
                                           hn::BitCast(bytes, hn::Set(words, minima)));
    const auto small = hn::PromoteTo(QuadPairIntegers(), hn::LowerHalf(pairs));
    const QuadPairs both = hn::Mul(halfPairs(half.block), hn::ConvertTo(QuadPairTag(), small));
    return {both, hn::Neg(hn::DupOdd(both))};
  }
};

template <>
struct ByteFormat<DType::q5_k> : BlockFormat<DType::q5_k> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    const QuadCodes lower = ByteFormat<DType::q4_k>::codesAt(half.block + kLayout.codes + Half::kHalf * 64);
    return addBits<Half::kHalf>(lower, half.block + kLayout.upperBits, 16);
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    return ByteFormat<DType::q4_k>::factors(half);
  }
};

template <>
struct ByteFormat<DType::q6_k> : BlockFormat<DType::q6_k> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    // The halves of a byte are 64 values apart: blocks 0 and 2 of four are the first halves of two groups.
    alignas(64) static constexpr uint32_t kShifts[16] = {0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4};
    const hn::Half<QuadBytes> two;
    const hn::FixedTag<uint8_t, 16> piece;
    const uint8_t* const lower = half.block + kLayout.codes + Half::kHalf * 64;
    const QuadCodes upper = quartersOf(half.block + kLayout.upperBits + Half::kHalf * 32);
    const auto part = [&](int at, QuadCode upperBits) HWY_ATTR {
      const auto groups = hn::Combine(two, hn::LoadU(piece, lower + 32 + at), hn::LoadU(piece, lower + at));
      const QuadCode low = shiftGroups(hn::Combine(QuadBytes(), groups, groups), kShifts, 15);
      const auto shifted = hn::ShiftLeft<4>(hn::BitCast(QuadWords(), upperBits));
      return hn::Or(low, hn::BitCast(QuadBytes(), shifted));
    };
    return {part(0, upper.first), part(16, upper.last)};
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const QuadPairs small = pairsOfBytes<int8_t>(longAt(half.block + 192 + Half::kHalf * 8));
    const QuadPairs scales = hn::Mul(hn::DupOdd(halfPairs(half.block + 206)), small);
    return {scales, scales};
  }
};

template <>
struct ByteFormat<DType::iq4_xs> : BlockFormat<DType::iq4_xs> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    const uint8_t* const pairs = half.block + kLayout.codes + Half::kHalf * 64;
    return levelsOf(kIq4Levels, halvesOf(hn::LoadU(QuadBytes(), pairs)));
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const QuadPairIntegers integers;
    alignas(32) static constexpr int32_t kOfGroup[8] = {0, 0, 1, 1, 2, 2, 3, 3};
    const auto group = hn::Load(integers, kOfGroup);
    const uint32_t low = wordAt(half.block + 4) >> (Half::kHalf * 16), high = half.block[2 + Half::kHalf];
    const auto bitsOf = [&](uint32_t bits, auto shifts, int kept) HWY_ATTR {
      return hn::And(hn::Shr(hn::Set(integers, static_cast<int32_t>(bits & 0xFFFF)), shifts), hn::Set(integers, kept));
    };
    const auto lower = bitsOf(low, hn::ShiftLeft<2>(group), 15), upper = bitsOf(high, hn::Add(group, group), 3);
    const auto small = hn::Sub(hn::Or(lower, hn::ShiftLeft<4>(upper)), hn::Set(integers, 32));
    const QuadPairs scales = hn::Mul(hn::DupEven(halfPairs(half.block)), hn::ConvertTo(QuadPairTag(), small));
    return {scales, scales};
  }
};

template <>
struct ByteFormat<DType::tq1_0> : BlockFormat<DType::tq1_0> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    // Five digits of 32 bytes and of 16, and four of 4 bytes. Half 0 contains the first four digits of the 32 bytes.
    const hn::FixedTag<uint8_t, 16> piece;
    const auto load = [&](int at) HWY_ATTR { return hn::LoadU(piece, half.block + at); };
    if constexpr (Half::kHalf == 0) {
      alignas(64) static constexpr uint16_t kPowers[32] = {1, 1, 1, 1, 1, 1, 1, 1, 3,  3,  3,  3,  3,  3,  3,  3,
                                                           9, 9, 9, 9, 9, 9, 9, 9, 27, 27, 27, 27, 27, 27, 27, 27};
      return {digits(hn::LoadDup128(QuadBytes(), half.block), kPowers),
              digits(hn::LoadDup128(QuadBytes(), half.block + 16), kPowers)};
    } else {
      alignas(64) static constexpr uint16_t kOfFirst[32] = {81, 81, 81, 81, 81, 81, 81, 81, 1,  1, 1,
                                                            1,  1,  1,  1,  1,  9,  9,  9,  9,  9, 9,
                                                            9,  9,  81, 81, 81, 81, 81, 81, 81, 81};
      alignas(64) static constexpr uint16_t kOfLast[32] = {81, 81, 81, 81, 81, 81, 81, 81, 3, 3, 3, 3, 3, 3, 3,  3,
                                                           27, 27, 27, 27, 27, 27, 27, 27, 1, 1, 3, 3, 9, 9, 27, 27};
      const hn::Half<QuadBytes> two;
      const auto sixteen = load(32);
      const auto four = hn::BitCast(piece, hn::Set(hn::FixedTag<uint32_t, 4>(), wordAt(half.block + 48)));
      const auto with = [&](auto from, auto to) HWY_ATTR {
        return hn::Combine(QuadBytes(), hn::Combine(two, to, sixteen), hn::Combine(two, sixteen, from));
      };
      return {digits(with(load(0), sixteen), kOfFirst), digits(with(load(16), four), kOfLast)};
    }
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const QuadPairs scales = hn::DupOdd(halfPairs(half.block + 50));
    return {scales, scales};
  }

 private:
  /// A byte is a fraction of 256: it is multiplied by a power of 3, and the digit is the integer part of three times
  /// the rest.
  static HWY_INLINE QuadCode digits(QuadCode bytes, const uint16_t (&powers)[32]) {
    const hn::FixedTag<uint16_t, 32> words;
    const auto power = hn::Load(words, powers), low = hn::Set(words, 255), three = hn::Set(words, 3);
    const auto digit = [&](auto fraction) HWY_ATTR {
      return hn::ShiftRight<8>(hn::Mul(hn::And(hn::Mul(fraction, power), low), three));
    };
    const auto even = digit(hn::And(hn::BitCast(words, bytes), low));
    const auto odd = digit(hn::ShiftRight<8>(hn::BitCast(words, bytes)));
    return hn::BitCast(QuadBytes(), hn::Or(even, hn::ShiftLeft<8>(odd)));
  }
};

template <>
struct ByteFormat<DType::tq2_0> : BlockFormat<DType::tq2_0> {
  template <class Half>
  static HWY_INLINE QuadCodes codes(Half half) {
    return quartersOf(half.block + kLayout.codes + Half::kHalf * 32);
  }
  template <class Half>
  static HWY_INLINE QuadFactors factors(Half half) {
    const QuadPairs scales = hn::DupOdd(halfPairs(half.block + 62));
    return {scales, scales};
  }
};

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
