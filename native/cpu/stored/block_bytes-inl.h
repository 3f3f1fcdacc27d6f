// The products of block_words-inl.h where an instruction multiplies bytes and adds four products to a lane (VNNI):
// four groups of 32 values at a time, for the formats whose blocks are one group. Include it after
// hwy/foreach_target.h, once per file.
//
// An activation's code is 256 high + low, both signed bytes, and a weight's code an unsigned byte, so the integer sums
// are exact: a lane gets 8 products of at most 255 * 32639, less than 2^26.
#if defined(MORA_CPU_BLOCK_BYTES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_BLOCK_BYTES_INL_H_
#undef MORA_CPU_BLOCK_BYTES_INL_H_
#else
#define MORA_CPU_BLOCK_BYTES_INL_H_
#endif

#include <array>

#include "cpu/prefetch.h"
#include "cpu/products/fixed_point-inl.h"

#if HWY_TARGET <= HWY_AVX3_DL

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int64_t kQuad = 4;  // groups

using QuadBytes = hn::FixedTag<uint8_t, 64>;
using QuadSigned = hn::FixedTag<int8_t, 64>;
using QuadIntegers = hn::FixedTag<int32_t, 16>;
using QuadFloats = hn::FixedTag<float, 16>;
using QuadFactorTag = hn::FixedTag<float, 2 * kQuad>;
using QuadFactors = hn::Vec<QuadFactorTag>;

/// Four groups of a row of activations; those that a row's end lacks are zero.
struct Quad {
  int8_t planes[4][64];  // the first 16 high bytes of each group, the last 16 high bytes, and so the low bytes
  int32_t sums[16];      // of the codes that a lane multiplies
  GroupFactors factors[kQuad];
};

/// The codes of four groups: the first 16 of each, and the last 16.
struct QuadCodes {
  hn::Vec<QuadBytes> first, last;
};

/// sum + the products of weights with two planes
HWY_INLINE hn::Vec<QuadIntegers> addProducts(const QuadCodes& codes, const int8_t (*planes)[64],
                                             hn::Vec<QuadIntegers> sum) {
  sum = hn::SumOfMulQuadAccumulate(QuadIntegers(), codes.first, hn::LoadU(QuadSigned(), planes[0]), sum);
  return hn::SumOfMulQuadAccumulate(QuadIntegers(), codes.last, hn::LoadU(QuadSigned(), planes[1]), sum);
}

/// The sums of a quad by lanes, four for each group. `kCentre` is what was added to a weight's codes.
template <int kCentre>
HWY_INLINE hn::Vec<QuadIntegers> quadSums(const QuadCodes& codes, const Quad& x) {
  auto sum = hn::ShiftLeft<8>(addProducts(codes, x.planes, hn::Zero(QuadIntegers())));
  if constexpr (kCentre != 0) {
    constexpr int kShift = std::countr_zero(static_cast<unsigned>(kCentre));
    sum = hn::Sub(sum, hn::ShiftLeft<kShift>(hn::LoadU(QuadIntegers(), x.sums)));
  }
  return addProducts(codes, x.planes + 2, sum);
}

/// Rows of activations.
class ByteRows {
 public:
  const int64_t rows, groups;

  ByteRows(Scratch& scratch, int64_t rowCount, int64_t groupCount)
      : rows(rowCount),
        groups(groupCount),
        quads_((groupCount + kQuad - 1) / kQuad),
        values_(scratch.take<Quad>(count())) {}

  int64_t count() const { return rows * quads_; }
  const Quad& quad(int64_t row, int64_t quad) const { return values_[row * quads_ + quad]; }

  /// Quads [begin, end) of all rows.
  void fill(const TensorDesc& a, int64_t begin, int64_t end) const {
    withFloatType(a.dtype, "matmul", [&](auto type) HWY_ATTR {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t first = at % quads_ * kQuad;
        const auto* const values = rowOf<const decltype(type)>(a, at / quads_) + first * kGroup;
        Quad& quad = values_[at];
        int16_t codes[kQuad * kGroup] = {};
        for (int64_t i = 0; i < kQuad; ++i)
          quad.factors[i] = first + i < groups ? fixGroup(values + i * kGroup, codes + i * kGroup) : GroupFactors{0, 0};
        split(codes, quad);
      }
    });
  }

 private:
  const int64_t quads_;
  Quad* const values_;  // [rows, quads]

  static HWY_INLINE void split(const int16_t* HWY_RESTRICT codes, Quad& quad) {
    const hn::FixedTag<int16_t, 16> words;
    const hn::Rebind<int8_t, decltype(words)> bytes;
    for (int i = 0; i < 2 * kQuad; ++i) {
      const auto code = hn::LoadU(words, codes + 16 * i);
      const auto high = hn::ShiftRight<8>(hn::Add(code, hn::Set(words, 128)));
      const auto low = hn::Sub(code, hn::ShiftLeft<8>(high));
      hn::StoreU(hn::DemoteTo(bytes, high), bytes, quad.planes[i % 2] + i / 2 * 16);
      hn::StoreU(hn::DemoteTo(bytes, low), bytes, quad.planes[2 + i % 2] + i / 2 * 16);
    }
    const auto ones = hn::Set(QuadBytes(), 1);
    hn::StoreU(quadSums<0>({ones, ones}, quad), QuadIntegers(), quad.sums);
  }
};

/// Four blocks of a row. Where there are fewer (`Count`, a number or an integral constant), the last one is there
/// again, for activations that are zero.
template <class Count>
struct FourBlocks {
  const uint8_t* first;
  int64_t stride;
  Count count;

  HWY_INLINE const uint8_t* at(int64_t i) const { return first + std::min<int64_t>(i, count - 1) * stride; }

  /// 16 bytes of each.
  HWY_INLINE hn::Vec<QuadBytes> pieces(int64_t offset) const {
    const hn::FixedTag<uint8_t, 16> piece;
    const hn::Half<QuadBytes> half;
    const auto load = [&](int i) HWY_ATTR { return hn::LoadU(piece, at(i) + offset); };
    return hn::Combine(QuadBytes(), hn::Combine(half, load(3), load(2)), hn::Combine(half, load(1), load(0)));
  }

  /// Codes in the halves of 16 bytes.
  HWY_INLINE QuadCodes pairs(int64_t offset) const {
    const hn::Repartition<uint16_t, QuadBytes> words;
    const auto both = pieces(offset), low = hn::Set(QuadBytes(), 15);
    const auto shifted = hn::BitCast(QuadBytes(), hn::ShiftRight<4>(hn::BitCast(words, both)));
    return {hn::And(both, low), hn::And(shifted, low)};
  }

  /// The same with fifth bits in the 32 bits at `fifths`.
  HWY_INLINE QuadCodes pairsWithFifths(int64_t fifths, int64_t offset) const {
    uint64_t first = 0, last = 0;
    for (int i = 0; i < kQuad; ++i) {
      const uint64_t bits = wordAt(at(i) + fifths);
      first |= (bits & 0xFFFF) << (16 * i);
      last |= (bits >> 16) << (16 * i);
    }
    const auto add = [](hn::Vec<QuadBytes> codes, uint64_t bits) HWY_ATTR {
      const auto mask = hn::LoadMaskBits(QuadBytes(), reinterpret_cast<const uint8_t*>(&bits));
      return hn::Or(codes, hn::IfThenElseZero(mask, hn::Set(QuadBytes(), 16)));
    };
    const QuadCodes lower = pairs(offset);
    return {add(lower.first, first), add(lower.last, last)};
  }

  /// The two f16 numbers that each starts with.
  HWY_INLINE QuadFactors factors() const {
    const auto load = [&](int i) HWY_ATTR {
      uint32_t bits;
      std::memcpy(&bits, at(i), sizeof bits);
      return bits;
    };
    const auto bits = hn::Dup128VecFromValues(hn::FixedTag<uint32_t, 4>(), load(0), load(1), load(2), load(3));
    return hn::PromoteTo(QuadFactorTag(), hn::BitCast(hn::FixedTag<hwy::float16_t, 8>(), bits));
  }
};

struct Q8_0 {
  using Rows = ByteRows;
  static constexpr DType kType = DType::q8_0;
  static constexpr bool kHasOffset = false;
  static constexpr int kCentre = 128;
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& blocks) {
    const auto flip = hn::Set(QuadBytes(), 128);
    return {hn::Xor(blocks.pieces(2), flip), hn::Xor(blocks.pieces(18), flip)};
  }
};

struct Q4_0 {
  using Rows = ByteRows;
  static constexpr DType kType = DType::q4_0;
  static constexpr bool kHasOffset = false;
  static constexpr int kCentre = 8;
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& blocks) {
    return blocks.pairs(2);
  }
};

struct Q4_1 {
  using Rows = ByteRows;
  static constexpr DType kType = DType::q4_1;
  static constexpr bool kHasOffset = true;
  static constexpr int kCentre = 0;
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& blocks) {
    return blocks.pairs(4);
  }
};

struct Q5_0 {
  using Rows = ByteRows;
  static constexpr DType kType = DType::q5_0;
  static constexpr bool kHasOffset = false;
  static constexpr int kCentre = 16;
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& blocks) {
    return blocks.pairsWithFifths(2, 6);
  }
};

struct Q5_1 {
  using Rows = ByteRows;
  static constexpr DType kType = DType::q5_1;
  static constexpr bool kHasOffset = true;
  static constexpr int kCentre = 0;
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& blocks) {
    return blocks.pairsWithFifths(4, 8);
  }
};

struct Iq4Nl {
  using Rows = ByteRows;
  static constexpr DType kType = DType::iq4_nl;
  static constexpr bool kHasOffset = false;
  static constexpr int kCentre = 128;
  template <class Blocks>
  static HWY_INLINE QuadCodes codes(const Blocks& blocks) {
    alignas(16) static constexpr auto kLevels = [] {
      std::array<uint8_t, 16> levels{};
      for (size_t i = 0; i < 16; ++i) levels[i] = static_cast<uint8_t>(kIq4Levels[i] + 128);
      return levels;
    }();
    const auto levels = hn::LoadDup128(QuadBytes(), kLevels.data());
    const QuadCodes indices = blocks.pairs(2);
    return {hn::TableLookupBytes(levels, indices.first), hn::TableLookupBytes(levels, indices.last)};
  }
};

/// sums [kWeights, kRows] = the products of kRows rows of activations from `row` with rows of blocks.
template <class Format, int kRows, int kWeights>
HWY_INLINE void blockDots(const uint8_t* const (&blocks)[kWeights], const ByteRows& x, int64_t row,
                          float (&sums)[kWeights][kRows]) {
  constexpr int64_t kBytes = traitsOf(Format::kType).blockBytes;
  hn::Vec<QuadFloats> totals[kWeights][kRows];
  QuadFactors offsets[kWeights][kRows];
  for (int w = 0; w < kWeights; ++w) {
    for (int r = 0; r < kRows; ++r) {
      totals[w][r] = hn::Zero(QuadFloats());
      offsets[w][r] = hn::Zero(QuadFactorTag());
    }
  }
  alignas(64) static constexpr int32_t kScaleOfLane[16] = {0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6};
  const auto scaleOfLane = hn::SetTableIndices(QuadFloats(), kScaleOfLane);
  const auto addQuad = [&](int64_t quad, auto count) HWY_ATTR {
#pragma GCC unroll 2
    for (int w = 0; w < kWeights; ++w) {
      const FourBlocks<decltype(count)> four{blocks[w] + quad * kQuad * kBytes, kBytes, count};
      prefetchLater(four.first, kQuad * kBytes);
      const QuadCodes codes = Format::codes(four);
      const QuadFactors factors = four.factors();
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const Quad& own = x.quad(row + r, quad);
        const auto product = hn::Mul(factors, hn::LoadU(QuadFactorTag(), &own.factors[0].scale));
        const auto scales = hn::TableLookupLanes(hn::ResizeBitCast(QuadFloats(), product), scaleOfLane);
        const auto sum = hn::ConvertTo(QuadFloats(), quadSums<Format::kCentre>(codes, own));
        totals[w][r] = hn::MulAdd(sum, scales, totals[w][r]);
        if constexpr (Format::kHasOffset) offsets[w][r] = hn::Add(offsets[w][r], product);
      }
    }
  };
  const int64_t whole = x.groups / kQuad, rest = x.groups % kQuad;
  for (int64_t quad = 0; quad < whole; ++quad) addQuad(quad, std::integral_constant<int64_t, kQuad>());
  if (rest > 0) addQuad(whole, rest);
  for (int w = 0; w < kWeights; ++w) {
    for (int r = 0; r < kRows; ++r) {
      auto total = totals[w][r];
      if constexpr (Format::kHasOffset) {
        const auto own = hn::OddEven(offsets[w][r], hn::Zero(QuadFactorTag()));
        total = hn::Add(total, hn::ZeroExtendVector(QuadFloats(), own));
      }
      sums[w][r] = hn::ReduceSum(QuadFloats(), total);
    }
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // bytes multiply

#endif  // include guard per target
