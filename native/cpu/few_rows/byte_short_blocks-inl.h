// Codes and scales of GGUF's blocks of 32 values for block_bytes-inl.h, and helpers for all formats, for one
// instruction set at a time: include it after hwy/foreach_target.h.
//
// A quad is four groups of 32 values: four of these blocks, or half of a block of eight groups. ByteFormat<type>
// returns the codes of a quad as unsigned bytes, and its scales and offsets.
#if defined(MORA_CPU_BYTE_SHORT_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_BYTE_SHORT_BLOCKS_INL_H_
#undef MORA_CPU_BYTE_SHORT_BLOCKS_INL_H_
#else
#define MORA_CPU_BYTE_SHORT_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "cpu/few_rows/block_layout.h"
#include "cpu/stored/dequantise_short_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int64_t kQuad = 4;  // groups

using QuadBytes = hn::FixedTag<uint8_t, 64>;
using QuadSigned = hn::FixedTag<int8_t, 64>;
using QuadWords = hn::FixedTag<uint32_t, 16>;
using QuadIntegers = hn::FixedTag<int32_t, 16>;
using QuadFloats = hn::FixedTag<float, 16>;
using QuadCode = hn::Vec<QuadBytes>;

/// Two numbers for each group: for its halves, or if they share a scale, the first is that of all values.
using QuadPairTag = hn::FixedTag<float, 2 * kQuad>;
using QuadPairs = hn::Vec<QuadPairTag>;
using QuadPairIntegers = hn::FixedTag<int32_t, 2 * kQuad>;

/// The codes of four groups: the first 16 of each, and the last 16.
struct QuadCodes {
  QuadCode first, last;
};

struct QuadFactors {
  QuadPairs scales, offsets;  // offsets are undefined if the format has none
};

HWY_INLINE QuadCode everyByte(int value) { return hn::Set(QuadBytes(), static_cast<uint8_t>(value)); }

HWY_INLINE QuadCode upperHalves(QuadCode bytes) {
  const hn::Repartition<uint16_t, QuadBytes> words;
  return hn::And(hn::BitCast(QuadBytes(), hn::ShiftRight<4>(hn::BitCast(words, bytes))), everyByte(15));
}

/// Codes in the halves of 16 bytes for each group; the low halves come first.
HWY_INLINE QuadCodes halvesOf(QuadCode pairs) { return {hn::And(pairs, everyByte(15)), upperHalves(pairs)}; }

/// Signed levels for 4-bit codes, as unsigned bytes.
HWY_INLINE QuadCodes levelsOf(const int8_t (&levels)[16], const QuadCodes& codes) {
  const auto raised = hn::Xor(hn::BitCast(QuadBytes(), hn::LoadDup128(QuadSigned(), levels)), everyByte(128));
  return {hn::TableLookupBytes(raised, codes.first), hn::TableLookupBytes(raised, codes.last)};
}

/// Four blocks of a row. If fewer remain (`Count`, a number or an integral constant), the last one is repeated, for
/// activations that are zero.
template <class Count>
struct FourBlocks {
  const uint8_t* first;
  int64_t stride;
  Count count;

  HWY_INLINE const uint8_t* at(int64_t i) const { return first + std::min<int64_t>(i, count - 1) * stride; }

  /// 16 bytes of each block.
  HWY_INLINE QuadCode pieces(int64_t offset) const {
    const hn::FixedTag<uint8_t, 16> piece;
    const hn::Half<QuadBytes> half;
    const auto load = [&](int i) HWY_ATTR { return hn::LoadU(piece, at(i) + offset); };
    return hn::Combine(QuadBytes(), hn::Combine(half, load(3), load(2)), hn::Combine(half, load(1), load(0)));
  }

  /// codes + 16 if the corresponding one of a block's 32 bits is set.
  HWY_INLINE QuadCodes addFifths(const QuadCodes& codes, int64_t fifths) const {
    uint64_t first = 0, last = 0;
    for (int i = 0; i < kQuad; ++i) {
      const uint64_t bits = wordAt(at(i) + fifths);
      first |= (bits & 0xFFFF) << (16 * i);
      last |= (bits >> 16) << (16 * i);
    }
    const auto add = [](QuadCode code, uint64_t bits) HWY_ATTR {
      const auto mask = hn::LoadMaskBits(QuadBytes(), reinterpret_cast<const uint8_t*>(&bits));
      return hn::Or(code, hn::IfThenElseZero(mask, everyByte(16)));
    };
    return {add(codes.first, first), add(codes.last, last)};
  }

  /// The scale and the offset at the start of each block; the offset is undefined if the format has none.
  HWY_INLINE QuadFactors factors() const {
    const auto bits = hn::Dup128VecFromValues(hn::FixedTag<uint32_t, 4>(), wordAt(at(0)), wordAt(at(1)), wordAt(at(2)),
                                              wordAt(at(3)));
    const QuadPairs pairs = hn::PromoteTo(QuadPairTag(), hn::BitCast(hn::FixedTag<hwy::float16_t, 8>(), bits));
    return {pairs, hn::DupOdd(pairs)};
  }
};

/// Blocks of one group with a scale and possibly an offset, in f16.
template <DType type>
struct ByteFormat : BlockFormat<type> {
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& four) {
    constexpr BlockLayout layout = layoutOf(type);
    if constexpr (type == DType::q8_0) {
      return {hn::Xor(four.pieces(layout.codes), everyByte(128)),
              hn::Xor(four.pieces(layout.codes + 16), everyByte(128))};
    } else {
      const QuadCodes codes = halvesOf(four.pieces(layout.codes));
      if constexpr (type == DType::iq4_nl) return levelsOf(kIq4Levels, codes);
      if constexpr (layout.upperBits >= 0) return four.addFifths(codes, layout.upperBits);
      return codes;
    }
  }
  template <class Blocks>
  static HWY_INLINE QuadFactors factors(const Blocks& four) {
    return four.factors();
  }
};

template <>
struct ByteFormat<DType::mxfp4> : BlockFormat<DType::mxfp4> {
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& four) {
    return levelsOf(kFp4Doubled, halvesOf(four.pieces(kLayout.codes)));
  }
  template <class Blocks>
  static HWY_INLINE QuadFactors factors(const Blocks& four) {
    alignas(32) float scales[2 * kQuad];
    for (int i = 0; i < kQuad; ++i) scales[2 * i] = scales[2 * i + 1] = halfPowerOf(*four.at(i));
    const QuadPairs pairs = hn::Load(QuadPairTag(), scales);
    return {pairs, pairs};
  }
};

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
