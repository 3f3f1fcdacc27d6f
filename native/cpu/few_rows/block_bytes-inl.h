// Products of rows of fixed-point activations with rows of GGUF's blocks, if an instruction multiplies bytes and adds
// four products to a lane (VNNI), for one instruction set at a time: include it after hwy/foreach_target.h, once per
// file. Without such an instruction, block_words-inl.h implements them.
//
// An activation's code is 256 high + low, both signed bytes, and a weight's code an unsigned byte, so the integer sums
// are exact: a lane gets 8 products of at most 255 * 32639, less than 2^26.
#if defined(MORA_CPU_BLOCK_BYTES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_BLOCK_BYTES_INL_H_
#undef MORA_CPU_BLOCK_BYTES_INL_H_
#else
#define MORA_CPU_BLOCK_BYTES_INL_H_
#endif

#include <type_traits>

#include "cpu/few_rows/fixed_point-inl.h"
#include "cpu/prefetch.h"

#if HWY_TARGET <= HWY_AVX3_DL

#include "cpu/few_rows/byte_long_blocks-inl.h"
#include "cpu/few_rows/byte_short_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Number of scales of a group.
template <class Format>
constexpr int kScales = Format::kLayout.inHalves ? 2 : 1;

/// Four groups of a row of activations; groups past the row's end are zero.
template <class Format>
struct alignas(64) Quad {
  int8_t planes[2][2][64];              // the high bytes of the first 16 codes of each group, then of the last 16;
                                        // the same for the low bytes
  int32_t starts[kScales<Format>][16];  // -centre times the sum of the codes that a lane multiplies, for each scale
  float scales[2 * kQuad];              // of each group, twice
  float sums[2 * kQuad];                // of the first and of the last 16 values of each group
};

/// sum + the products of codes with a plane
HWY_INLINE hn::Vec<QuadIntegers> addProducts(QuadCode codes, const int8_t (&plane)[64], hn::Vec<QuadIntegers> sum) {
  return hn::SumOfMulQuadAccumulate(QuadIntegers(), codes, hn::Load(QuadSigned(), plane), sum);
}

/// Sums by lanes, four for each group: over all codes, or over those with scale `i`.
template <class Format>
HWY_INLINE hn::Vec<QuadFloats> quadSums(const QuadCodes& codes, const Quad<Format>& x, int i) {
  const auto addPlane = [&](const int8_t(&planes)[2][64], hn::Vec<QuadIntegers> sum) HWY_ATTR {
    if (kScales<Format> == 1 || i == 0) sum = addProducts(codes.first, planes[0], sum);
    if (kScales<Format> == 1 || i == 1) sum = addProducts(codes.last, planes[1], sum);
    return sum;
  };
  const auto zero = hn::Zero(QuadIntegers()), high = addPlane(x.planes[0], zero);
  const auto start = Format::kLayout.centre == 0 ? zero : hn::Load(QuadIntegers(), x.starts[i]);
  return hn::ConvertTo(QuadFloats(), hn::Add(hn::ShiftLeft<8>(high), addPlane(x.planes[1], start)));
}

/// Rows of activations.
template <class Format>
class ByteRows {
 public:
  const int64_t rows, groups;

  ByteRows(Scratch& scratch, int64_t rowCount, int64_t groupCount)
      : rows(rowCount),
        groups(groupCount),
        quads_((groupCount + kQuad - 1) / kQuad),
        values_(scratch.take<Quad<Format>>(count())) {}

  int64_t count() const { return rows * quads_; }
  const Quad<Format>& quad(int64_t row, int64_t quad) const { return values_[row * quads_ + quad]; }

  /// Quads [begin, end) of all rows.
  void fill(const TensorDesc& a, int64_t begin, int64_t end) const {
    withFloatType(a.dtype, "matmul", [&](auto type) HWY_ATTR {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t first = at % quads_ * kQuad;
        const auto* const values = rowOf<const decltype(type)>(a, at / quads_) + first * kGroup;
        Quad<Format>& quad = values_[at];
        int16_t codes[kQuad * kGroup] = {};
        for (int64_t i = 0; i < kQuad; ++i) {
          const bool present = first + i < groups;
          quad.scales[2 * i] = present ? fixGroup(values + i * kGroup, codes + i * kGroup).scale : 0;
          quad.scales[2 * i + 1] = quad.scales[2 * i];
        }
        split(codes, quad);
      }
    });
  }

 private:
  const int64_t quads_;
  Quad<Format>* const values_;  // [rows, quads]

  static HWY_INLINE void split(const int16_t* HWY_RESTRICT codes, Quad<Format>& quad) {
    const hn::FixedTag<int16_t, 16> words;
    const hn::Rebind<int8_t, decltype(words)> bytes;
    const hn::FixedTag<int32_t, 8> integers;
    for (int i = 0; i < 2 * kQuad; ++i) {
      const auto code = hn::LoadU(words, codes + 16 * i);
      const auto high = hn::ShiftRight<8>(hn::Add(code, hn::Set(words, 128)));
      const auto low = hn::Sub(code, hn::ShiftLeft<8>(high));
      hn::StoreU(hn::DemoteTo(bytes, high), bytes, quad.planes[0][i % 2] + i / 2 * 16);
      hn::StoreU(hn::DemoteTo(bytes, low), bytes, quad.planes[1][i % 2] + i / 2 * 16);
      const auto pairs = hn::WidenMulPairwiseAdd(integers, code, hn::Set(words, 1));
      quad.sums[i] = quad.scales[i] * static_cast<float>(hn::ReduceSum(integers, pairs));
    }
    for (int i = 0; i < kScales<Format>; ++i) {
      for (int lane = 0; lane < 16; ++lane) {
        int32_t sum = 0;
        for (int n = 0; n < 4; ++n) {
          const int16_t* const own = codes + lane / 4 * kGroup + lane % 4 * 4 + n;
          sum += kScales<Format> == 2 ? own[16 * i] : own[0] + own[16];
        }
        quad.starts[i][lane] = -Format::kLayout.centre * sum;
      }
    }
  }
};

/// sums [kWeights, kRows] = the products of kRows rows of activations from `row` with rows of blocks.
template <class Format, int kRows, int kWeights>
HWY_INLINE void blockDots(const uint8_t* const (&blocks)[kWeights], const ByteRows<Format>& x, int64_t row,
                          float (&sums)[kWeights][kRows]) {
  constexpr int64_t kBytes = Format::kBytes;
  hn::Vec<QuadFloats> totals[kWeights][kRows];
  QuadPairs offsets[kWeights][kRows];
  for (int w = 0; w < kWeights; ++w) {
    for (int r = 0; r < kRows; ++r) {
      totals[w][r] = hn::Zero(QuadFloats());
      offsets[w][r] = hn::Zero(QuadPairTag());
    }
  }
  alignas(64) static constexpr int32_t kOfLane[2][16] = {{0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6},
                                                         {1, 1, 1, 1, 3, 3, 3, 3, 5, 5, 5, 5, 7, 7, 7, 7}};
  const auto addQuad = [&](int w, int64_t quad, auto stored) HWY_ATTR {
    const QuadCodes codes = Format::codes(stored);
    const QuadFactors factors = Format::factors(stored);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Quad<Format>& own = x.quad(row + r, quad);
      const QuadPairs scales = hn::Mul(factors.scales, hn::Load(QuadPairTag(), own.scales));
#pragma GCC unroll 2
      for (int i = 0; i < kScales<Format>; ++i) {
        const auto ofLane = hn::SetTableIndices(QuadFloats(), kOfLane[i]);
        const auto scale = hn::TableLookupLanes(hn::ResizeBitCast(QuadFloats(), scales), ofLane);
        totals[w][r] = hn::MulAdd(quadSums<Format>(codes, own, i), scale, totals[w][r]);
      }
      if constexpr (Format::kLayout.hasOffset)
        offsets[w][r] = hn::MulAdd(factors.offsets, hn::Load(QuadPairTag(), own.sums), offsets[w][r]);
    }
  };
  if constexpr (Format::kGroups == 1) {
    const auto addBlocks = [&](int64_t quad, auto count) HWY_ATTR {
#pragma GCC unroll 2
      for (int w = 0; w < kWeights; ++w) {
        const FourBlocks<decltype(count)> four{blocks[w] + quad * kQuad * kBytes, kBytes, count};
        prefetchLater(four.first, kQuad * kBytes);
        addQuad(w, quad, four);
      }
    };
    const int64_t whole = x.groups / kQuad, rest = x.groups % kQuad;
    for (int64_t quad = 0; quad < whole; ++quad) addBlocks(quad, std::integral_constant<int64_t, kQuad>());
    if (rest > 0) addBlocks(whole, rest);
  } else {
    for (int64_t block = 0; block < x.groups / Format::kGroups; ++block) {
#pragma GCC unroll 2
      for (int w = 0; w < kWeights; ++w) {
        const uint8_t* const own = blocks[w] + block * kBytes;
        prefetchLater(own, kBytes);
        addQuad(w, 2 * block, HalfBlock<0>{own});
        addQuad(w, 2 * block + 1, HalfBlock<1>{own});
      }
    }
  }
  for (int w = 0; w < kWeights; ++w) {
    for (int r = 0; r < kRows; ++r) {
      auto total = totals[w][r];
      if constexpr (Format::kLayout.hasOffset)
        total = hn::Add(total, hn::ZeroExtendVector(QuadFloats(), offsets[w][r]));
      sums[w][r] = hn::ReduceSum(QuadFloats(), total);
    }
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // bytes multiply

#endif  // include guard per target
