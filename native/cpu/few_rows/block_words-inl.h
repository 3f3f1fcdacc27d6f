// Products of rows of fixed-point activations with rows of GGUF's blocks, without the byte instructions of
// block_bytes-inl.h, for the most common formats, one instruction set at a time: include it after hwy/foreach_target.h,
// once per file.
//
// WordFormat<type> describes a format in groups of 32 values: value = scale code + offset, with integer codes of at
// most 13 bits as 16-bit words. Products of words add up to 32-bit integers without loss: |code| <= 4096, |activation|
// < 32768, and a lane gets at most 8 products of a group.
#if defined(MORA_CPU_BLOCK_WORDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_BLOCK_WORDS_INL_H_
#undef MORA_CPU_BLOCK_WORDS_INL_H_
#else
#define MORA_CPU_BLOCK_WORDS_INL_H_
#endif

#include "cpu/few_rows/block_layout.h"
#include "cpu/few_rows/fixed_point-inl.h"
#include "cpu/prefetch.h"

#if HWY_TARGET > HWY_AVX3_DL

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// A group is one vector of words, or 2 or 4 of them.
using WordTag = hn::CappedTag<int16_t, kGroup>;
using Words = hn::Vec<WordTag>;
using IntegerTag = hn::RepartitionToWide<WordTag>;
using SumTag = hn::Rebind<float, IntegerTag>;
using SumVector = hn::Vec<SumTag>;
constexpr int kWords = static_cast<int>(hn::MaxLanes(WordTag()));
constexpr int kVectors = static_cast<int>(kGroup) / kWords;

/// Rows of activations.
class WordRows {
 public:
  const int64_t rows, groups;

  WordRows(Scratch& scratch, int64_t rowCount, int64_t groupCount)
      : rows(rowCount),
        groups(groupCount),
        codes_(scratch.take<int16_t>(count() * kGroup)),
        factors_(scratch.take<GroupFactors>(count())) {}

  int64_t count() const { return rows * groups; }
  const int16_t* codes(int64_t row, int64_t group) const { return codes_ + (row * groups + group) * kGroup; }
  const GroupFactors& factors(int64_t row, int64_t group) const { return factors_[row * groups + group]; }

  /// Groups [begin, end) of all rows.
  void fill(const TensorDesc& a, int64_t begin, int64_t end) const {
    withFloatType(a.dtype, "matmul", [&](auto type) HWY_ATTR {
      for (int64_t at = begin; at < end; ++at)
        factors_[at] =
            fixGroup(rowOf<const decltype(type)>(a, at / groups) + at % groups * kGroup, codes_ + at * kGroup);
    });
  }

 private:
  int16_t* const codes_;         // [rows, groups, 32]
  GroupFactors* const factors_;  // [rows, groups]
};

/// The scale and the offset of a weight's group, each twice; the offset is undefined if the format has none.
using FactorTag = hn::FixedTag<float, 4>;
using Factors = hn::Vec<FactorTag>;

HWY_INLINE Factors factorsOf(float scale, float offset) {
  return hn::Dup128VecFromValues(FactorTag(), scale, offset, scale, offset);
}

/// Two f16 numbers.
HWY_INLINE Factors halfPairAt(const uint8_t* bytes) {
#if HWY_TARGET <= HWY_AVX2
  const hn::FixedTag<hwy::float16_t, 4> halves;
  uint32_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return hn::PromoteTo(FactorTag(), hn::BitCast(halves, hn::Set(hn::FixedTag<uint32_t, 2>(), bits)));
#else
  return factorsOf(halfAt(bytes), halfAt(bytes + 2));
#endif
}

/// Vector `i` of 32 unsigned bytes as words.
HWY_INLINE Words wordsOfBytes(const uint8_t* bytes, int i) {
  return hn::PromoteTo(WordTag(), hn::LoadU(hn::Rebind<uint8_t, WordTag>(), bytes + i * kWords));
}

HWY_INLINE Words lowHalves(Words bytes) { return hn::And(bytes, hn::Set(WordTag(), 15)); }

/// Vector `i` of the 32 codes in the halves of 16 bytes as words; the low halves come first.
HWY_INLINE Words wordsOfPairs(const uint8_t* pairs, int i) {
  if constexpr (kVectors == 1) {
    const hn::Half<WordTag> half;
    const auto both = hn::PromoteTo(half, hn::LoadU(hn::Rebind<uint8_t, decltype(half)>(), pairs));
    return hn::Combine(WordTag(), hn::ShiftRight<4>(both), hn::And(both, hn::Set(half, 15)));
  } else {
    const Words both = wordsOfBytes(pairs, i % (kVectors / 2));
    return i < kVectors / 2 ? lowHalves(both) : hn::ShiftRight<4>(both);
  }
}

/// Vector `i` of words: 16 if the corresponding one of the 32 bits at `bits` is set, else 0.
HWY_INLINE Words fifthsAt(const uint8_t* bits, int i) {
  uint8_t own[8] = {};  // LoadMaskBits may read all of them
  std::memcpy(own, bits + i * kWords / 8, (kWords + 7) / 8);
  return hn::IfThenElseZero(hn::LoadMaskBits(WordTag(), own), hn::Set(WordTag(), 16));
}

/// IQ4's levels of 4-bit codes.
HWY_INLINE Words levelsOf(Words codes) {
  const hn::Repartition<int8_t, WordTag> bytes;
  const auto low =
      hn::BitCast(WordTag(), hn::TableLookupBytes(hn::LoadDup128(bytes, kIq4Levels), hn::BitCast(bytes, codes)));
  return hn::ShiftRight<8>(hn::ShiftLeft<8>(low));  // the upper bytes were looked up for code 0
}

/// Whether a format is multiplied as words: each of its groups has one scale, or scales are small integers.
constexpr bool hasWords(DType type) {
  switch (type) {
    case DType::mxfp4:
    case DType::q2_k:
    case DType::q3_k:
    case DType::tq1_0:
    case DType::tq2_0:
      return false;
    default:
      return true;
  }
}

/// Blocks of one group with a scale and possibly an offset, in f16.
template <DType type>
struct WordFormat : BlockFormat<type> {
  static HWY_INLINE Words words(const uint8_t* block, int, int i) {
    constexpr BlockLayout layout = layoutOf(type);
    const uint8_t* const codes = block + layout.codes;
    if constexpr (type == DType::q8_0) {
      const auto* const own = reinterpret_cast<const int8_t*>(codes) + i * kWords;
      return hn::PromoteTo(WordTag(), hn::LoadU(hn::Rebind<int8_t, WordTag>(), own));
    } else if constexpr (type == DType::iq4_nl) {
      return levelsOf(wordsOfPairs(codes, i));
    } else {
      Words code = wordsOfPairs(codes, i);
      if constexpr (layout.upperBits >= 0) code = hn::Or(code, fifthsAt(block + layout.upperBits, i));
      return hn::Sub(code, hn::Set(WordTag(), layout.centre));
    }
  }
  static HWY_INLINE Factors factors(const uint8_t* block, int) { return halfPairAt(block); }
};

template <>
struct WordFormat<DType::q4_k> : BlockFormat<DType::q4_k> {
  static HWY_INLINE Words words(const uint8_t* block, int group, int i) {
    const Words both = wordsOfBytes(block + kLayout.codes + group / 2 * 32, i);
    return group % 2 == 0 ? lowHalves(both) : hn::ShiftRight<4>(both);
  }
  static HWY_INLINE Factors factors(const uint8_t* block, int group) {
    const ScaleAndMinimum small = groupScale(block + 4, group);
    return hn::Mul(halfPairAt(block), factorsOf(small.scale, -small.minimum));
  }
};

template <>
struct WordFormat<DType::q5_k> : BlockFormat<DType::q5_k> {
  static HWY_INLINE Words words(const uint8_t* block, int group, int i) {
    const Words both = wordsOfBytes(block + kLayout.codes + group / 2 * 32, i);
    const Words fifth = hn::ShiftRightSame(wordsOfBytes(block + kLayout.upperBits, i), group);
    const Words upper = hn::ShiftLeft<4>(hn::And(fifth, hn::Set(WordTag(), 1)));
    return hn::Or(group % 2 == 0 ? lowHalves(both) : hn::ShiftRight<4>(both), upper);
  }
  static HWY_INLINE Factors factors(const uint8_t* block, int group) {
    return WordFormat<DType::q4_k>::factors(block, group);
  }
};

/// The scales of 16 values each are multiplied into the codes.
template <>
struct WordFormat<DType::q6_k> : BlockFormat<DType::q6_k> {
  static HWY_INLINE Words words(const uint8_t* block, int group, int i) {
    const int half = group / 4, quarter = group % 4;
    const Words low = wordsOfBytes(block + kLayout.codes + half * 64 + quarter % 2 * 32, i);
    const Words high = hn::ShiftRightSame(wordsOfBytes(block + kLayout.upperBits + half * 32, i), quarter * 2);
    const Words upper = hn::ShiftLeft<4>(hn::And(high, hn::Set(WordTag(), 3)));
    const Words code = hn::Or(quarter < 2 ? lowHalves(low) : hn::ShiftRight<4>(low), upper);
    const auto scaleAt = [&](int n) { return static_cast<int16_t>(static_cast<int8_t>(block[192 + group * 2 + n])); };
    Words scales = hn::Set(WordTag(), scaleAt(i * kWords / 16));
    if constexpr (kVectors == 1) {
      const hn::Half<WordTag> part;
      scales = hn::Combine(WordTag(), hn::Set(part, scaleAt(1)), hn::Set(part, scaleAt(0)));
    }
    return hn::Mul(hn::Sub(code, hn::Set(WordTag(), kLayout.centre)), scales);
  }
  static HWY_INLINE Factors factors(const uint8_t* block, int) { return hn::DupOdd(halfPairAt(block + 206)); }
};

template <>
struct WordFormat<DType::iq4_xs> : BlockFormat<DType::iq4_xs> {
  static HWY_INLINE Words words(const uint8_t* block, int group, int i) {
    return levelsOf(wordsOfPairs(block + kLayout.codes + group * 16, i));
  }
  static HWY_INLINE Factors factors(const uint8_t* block, int group) {
    const int low = block[4 + group / 2] >> (group % 2 * 4) & 15, high = (block[2] | block[3] << 8) >> (group * 2) & 3;
    return factorsOf(halfAt(block) * static_cast<float>((low | high << 4) - 32), 0);
  }
};

/// The lane-wise sums of one group: words of the weight times those of one row of activations.
HWY_INLINE SumVector groupSums(const Words (&words)[kVectors], const int16_t* HWY_RESTRICT codes) {
  const auto pairs = [&](int i) HWY_ATTR {
    return hn::WidenMulPairwiseAdd(IntegerTag(), words[i], hn::LoadU(WordTag(), codes + i * kWords));
  };
  auto sum = pairs(0);
  for (int i = 1; i < kVectors; ++i) sum = hn::Add(sum, pairs(i));
  return hn::ConvertTo(SumTag(), sum);
}

/// sums [kRows] = the products of kRows rows of activations from `row` with one row of blocks. Even and odd groups are
/// summed separately, so that a sum need not wait for the previous one.
template <class Format, int kRows>
HWY_INLINE void blockDots(const uint8_t* HWY_RESTRICT blocks, const WordRows& x, int64_t row,
                          float* HWY_RESTRICT sums) {
  constexpr int kGroups = Format::kGroups;
  SumVector even[kRows], odd[kRows];
  Factors offsets[kRows];
  for (int r = 0; r < kRows; ++r) {
    even[r] = odd[r] = hn::Zero(SumTag());
    offsets[r] = hn::Zero(FactorTag());
  }
  const auto addGroup = [&](const uint8_t* block, int part, int64_t group, SumVector(&into)[kRows]) HWY_ATTR {
    Words words[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) words[i] = Format::words(block, part, i);
    const Factors factors = Format::factors(block, part);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto both = std::bit_cast<double>(x.factors(row + r, group));
      const Factors product = hn::Mul(factors, hn::BitCast(FactorTag(), hn::Set(hn::FixedTag<double, 2>(), both)));
      const SumVector scale = hn::Set(SumTag(), hn::GetLane(product));
      into[r] = hn::MulAdd(groupSums(words, x.codes(row + r, group)), scale, into[r]);
      if constexpr (Format::kLayout.hasOffset) offsets[r] = hn::Add(offsets[r], product);
    }
  };
  const auto* block = blocks;
  if constexpr (kGroups == 1) {
    int64_t group = 0;
    for (; group + 2 <= x.groups; group += 2, block += 2 * Format::kBytes) {
      prefetchLater(block, kLine);  // approximately the size of two blocks
      addGroup(block, 0, group, even);
      addGroup(block + Format::kBytes, 0, group + 1, odd);
    }
    if (group < x.groups) addGroup(block, 0, group, even);
  } else {
    for (int64_t group = 0; group < x.groups; group += kGroups, block += Format::kBytes) {
      prefetchLater(block, Format::kBytes);
#pragma GCC unroll 8
      for (int part = 0; part < kGroups; ++part) addGroup(block, part, group + part, part % 2 == 0 ? even : odd);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    sums[r] = hn::ReduceSum(SumTag(), hn::Add(even[r], odd[r]));
    if constexpr (Format::kLayout.hasOffset) sums[r] += hn::ExtractLane(offsets[r], 1);
  }
}

/// sums [kWeights, kRows] = the products with several rows of blocks.
template <class Format, int kRows, int kWeights>
HWY_INLINE void blockDots(const uint8_t* const (&blocks)[kWeights], const WordRows& x, int64_t row,
                          float (&sums)[kWeights][kRows]) {
  for (int w = 0; w < kWeights; ++w) blockDots<Format, kRows>(blocks[w], x, row, sums[w]);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // bytes don't multiply

#endif  // include guard per target
