#include "cpu/few_rows/block_matrices.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cpu/few_rows/few_rows.h"
#include "cpu/float_types.h"
#include "cpu/parallel.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/few_rows/block_matrices.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/few_rows/block_bytes-inl.h"
#include "cpu/products/matrix_units-inl.h"
#include "cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

#if MORA_MATRIX_UNITS

// The left operand has the codes of 16 outputs, the right one the high and the low bytes of 8 rows of activations. A
// unit is a run of values with one scale: a group, or a half of it. A quad has 4 or 8 units.

constexpr int64_t kBlockOutputs = 16, kBlockRows = 8;

template <class Format>
constexpr int64_t kUnits = kQuad * kScales<Format>;  // of a quad
template <class Format>
constexpr int64_t kUnitValues = kGroup / kScales<Format>;

/// Configures the calling thread's registers during its lifetime: 0 to 3 are sums [16, 16] of 32 bits, 4 and 5 left
/// operands [16, depth], 6 and 7 right operands [depth / 4, 16, 4] of bytes.
struct ByteMatrixUnits {
  explicit ByteMatrixUnits(int64_t depth) {
    const auto bytes = static_cast<uint16_t>(depth);
    const auto quarters = static_cast<uint8_t>(depth / 4);
    struct alignas(64) {
      uint8_t palette = 1, firstRow = 0, reserved[14] = {};
      uint16_t rowBytes[16];
      uint8_t rows[16];
    } const shapes{.rowBytes = {64, 64, 64, 64, bytes, bytes, 64, 64},
                   .rows = {16, 16, 16, 16, 16, 16, quarters, quarters}};
    asm volatile("ldtilecfg %0" ::"m"(shapes));
  }
  ~ByteMatrixUnits() { asm volatile("tilerelease" ::: "memory"); }
  ByteMatrixUnits(const ByteMatrixUnits&) = delete;
  ByteMatrixUnits& operator=(const ByteMatrixUnits&) = delete;
};

/// Register kSum += kLeft kRight, signed bytes.
template <int kSum, int kLeft, int kRight>
HWY_INLINE void addByteProduct() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kLeft), "i"(kRight));
}

/// A quad of 8 rows of activations. Lanes are the rows' high bytes, then their low bytes.
template <class Format>
struct alignas(64) QuadOfRows {
  int8_t codes[kUnits<Format>][kUnitValues<Format> / 4][2][kBlockRows][4];
  float scales[kUnits<Format>][2][kBlockRows];  // 256 times the scale for high bytes
  float sums[kUnits<Format>][2][kBlockRows];    // of values; 0 for low bytes
};

/// A quad of 16 outputs.
template <class Format>
struct alignas(64) QuadOfOutputs {
  int8_t codes[kBlockOutputs][kUnits<Format>][kUnitValues<Format>];
  float scales[kBlockOutputs][2 * kQuad];
  float offsets[kBlockOutputs][2 * kQuad];
};

/// Columns [first, first + kQuad groups) of rows [row, row + kBlockRows) of a; zeros lie outside of a.
template <class Format>
void fillRows(const TensorDesc& a, int64_t row, int64_t firstGroup, QuadOfRows<Format>& quad) {
  const hn::FixedTag<int16_t, kGroup> words;
  const hn::Rebind<int8_t, decltype(words)> bytes;
  std::memset(static_cast<void*>(&quad), 0, sizeof(quad));
  const int64_t rows = std::min(kBlockRows, a.shape[0] - row);
  const int64_t groups = std::min(kQuad, a.shape[1] / kGroup - firstGroup);
  withFloatType(a.dtype, "matmul", [&](auto type) HWY_ATTR {
    for (int64_t r = 0; r < rows; ++r) {
      const auto* const values = rowOf<const decltype(type)>(a, row + r) + firstGroup * kGroup;
      for (int64_t group = 0; group < groups; ++group) {
        alignas(64) int16_t codes[kGroup];
        const float scale = fixGroup(values + group * kGroup, codes).scale;
        const auto code = hn::Load(words, codes);
        const auto high = hn::ShiftRight<8>(hn::Add(code, hn::Set(words, 128)));
        alignas(32) int8_t planes[2][kGroup];
        hn::Store(hn::DemoteTo(bytes, high), bytes, planes[0]);
        hn::Store(hn::DemoteTo(bytes, hn::Sub(code, hn::ShiftLeft<8>(high))), bytes, planes[1]);
        const auto pairs = hn::WidenMulPairwiseAdd(QuadIntegers(), code, hn::Set(words, 1));
        const hn::Half<QuadIntegers> half;
        const int32_t sums[2] = {hn::ReduceSum(half, hn::LowerHalf(half, pairs)),
                                 hn::ReduceSum(half, hn::UpperHalf(half, pairs))};
        for (int64_t i = 0; i < kScales<Format>; ++i) {
          const int64_t unit = group * kScales<Format> + i;
          for (int64_t at = 0; at < kUnitValues<Format>; at += 4)
            for (int plane = 0; plane < 2; ++plane)
              std::memcpy(quad.codes[unit][at / 4][plane][r], planes[plane] + i * kUnitValues<Format> + at, 4);
          quad.scales[unit][0][r] = 256 * scale;
          quad.scales[unit][1][r] = scale;
          quad.sums[unit][0][r] = scale * static_cast<float>(kScales<Format> == 1 ? sums[0] + sums[1] : sums[i]);
        }
      }
    }
  });
}

/// Writes a quad of one output; `stored` are its four groups.
template <class Format, class Stored>
HWY_INLINE void unpackQuad(const Stored& stored, int64_t output, QuadOfOutputs<Format>& quad) {
  alignas(64) static constexpr uint64_t kFirstGroups[8] = {0, 1, 8, 9, 2, 3, 10, 11};
  alignas(64) static constexpr uint64_t kLastGroups[8] = {4, 5, 12, 13, 6, 7, 14, 15};
  const hn::FixedTag<uint64_t, 8> longs;
  QuadCodes codes = Format::codes(stored);
  if constexpr (Format::kLayout.centre != 0) {
    codes.first = hn::Sub(codes.first, everyByte(Format::kLayout.centre));
    codes.last = hn::Sub(codes.last, everyByte(Format::kLayout.centre));
  }
  const auto pick = [&](const uint64_t (&order)[8]) HWY_ATTR {
    return hn::BitCast(QuadSigned(),
                       hn::TwoTablesLookupLanes(longs, hn::BitCast(longs, codes.first), hn::BitCast(longs, codes.last),
                                                hn::SetTableIndices(longs, order)));
  };
  int8_t* const to = quad.codes[output][0];
  hn::Store(pick(kFirstGroups), QuadSigned(), to);
  hn::Store(pick(kLastGroups), QuadSigned(), to + 64);
  const QuadFactors factors = Format::factors(stored);
  hn::Store(factors.scales, QuadPairTag(), quad.scales[output]);
  if constexpr (Format::kLayout.hasOffset) hn::Store(factors.offsets, QuadPairTag(), quad.offsets[output]);
}

/// Unpacks all quads of rows [first, first + kBlockOutputs) of a weight; the last one is repeated if there are fewer.
template <class Format>
void unpackOutputs(const TensorDesc& weight, int64_t first, QuadOfOutputs<Format>* quads) {
  constexpr int64_t kBytes = Format::kBytes;
  const int64_t groups = weight.shape[1] / kGroup, stride = weight.strides[0] / (Format::kGroups * kGroup) * kBytes;
  const auto* const data = static_cast<const uint8_t*>(weight.data);
  for (int64_t output = 0; output < kBlockOutputs; ++output) {
    const uint8_t* const row = data + std::min(first + output, weight.shape[0] - 1) * stride;
    if constexpr (Format::kGroups == 1) {
      const int64_t whole = groups / kQuad, rest = groups % kQuad;
      for (int64_t quad = 0; quad < whole; ++quad) {
        const auto count = std::integral_constant<int64_t, kQuad>();
        const FourBlocks<decltype(count)> four{row + quad * kQuad * kBytes, kBytes, count};
        prefetchLater(four.first, kQuad * kBytes);
        unpackQuad(four, output, quads[quad]);
      }
      if (rest > 0) unpackQuad(FourBlocks<int64_t>{row + whole * kQuad * kBytes, kBytes, rest}, output, quads[whole]);
    } else {
      for (int64_t block = 0; block < groups / Format::kGroups; ++block) {
        const uint8_t* const own = row + block * kBytes;
        prefetchLater(own, kBytes);
        unpackQuad(HalfBlock<0>{own}, output, quads[2 * block]);
        unpackQuad(HalfBlock<1>{own}, output, quads[2 * block + 1]);
      }
    }
  }
}

using UnitSums = int32_t[kBlockOutputs][2 * kBlockRows];

/// sums [4] = the products of codes of four units.
template <class Format>
HWY_INLINE void multiplyUnits(const QuadOfOutputs<Format>& weights, const QuadOfRows<Format>& x, int64_t first,
                              UnitSums* sums) {
  const auto multiply = [&](auto index) HWY_ATTR {
    constexpr int kSum = decltype(index)::value, kLeft = 4 + kSum % 2, kRight = 6 + kSum % 2;
    loadMatrix<kLeft>(weights.codes[0][first + kSum], kQuad * kGroup / 4);
    loadMatrix<kRight>(x.codes[first + kSum], 16);
    clearMatrix<kSum>();
    addByteProduct<kSum, kLeft, kRight>();
  };
  multiply(std::integral_constant<int, 0>());
  multiply(std::integral_constant<int, 1>());
  multiply(std::integral_constant<int, 2>());
  multiply(std::integral_constant<int, 3>());
  storeMatrix<0>(reinterpret_cast<float*>(sums[0]), 16);
  storeMatrix<1>(reinterpret_cast<float*>(sums[1]), 16);
  storeMatrix<2>(reinterpret_cast<float*>(sums[2]), 16);
  storeMatrix<3>(reinterpret_cast<float*>(sums[3]), 16);
}

/// products [kBlockOutputs, 2, kBlockRows] of all quads, of the high and of the low bytes.
template <class Format>
HWY_INLINE void multiplyQuads(const QuadOfOutputs<Format>* weights, const QuadOfRows<Format>* x, int64_t quads,
                              float* HWY_RESTRICT products) {
  constexpr int64_t kSteps = kUnits<Format> / 4;
  alignas(64) UnitSums sums[2][4];
  hn::Vec<QuadFloats> totals[kBlockOutputs];
  for (auto& total : totals) total = hn::Zero(QuadFloats());
  // The matrix units are a step ahead of the vectors.
  multiplyUnits<Format>(weights[0], x[0], 0, sums[0]);
  for (int64_t step = 0; step < quads * kSteps; ++step) {
    const int64_t next = step + 1;
    if (next < quads * kSteps)
      multiplyUnits<Format>(weights[next / kSteps], x[next / kSteps], next % kSteps * 4, sums[next % 2]);
    const QuadOfOutputs<Format>& own = weights[step / kSteps];
    const QuadOfRows<Format>& values = x[step / kSteps];
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t unit = step % kSteps * 4 + i, factor = unit * (2 * kQuad / kUnits<Format>);
      const auto scale = hn::Load(QuadFloats(), values.scales[unit][0]);
      const auto sum = hn::Load(QuadFloats(), values.sums[unit][0]);
#pragma GCC unroll 16
      for (int64_t output = 0; output < kBlockOutputs; ++output) {
        const auto product = hn::ConvertTo(QuadFloats(), hn::Load(QuadIntegers(), sums[step % 2][i][output]));
        const auto both = hn::Mul(scale, hn::Set(QuadFloats(), own.scales[output][factor]));
        totals[output] = hn::MulAdd(product, both, totals[output]);
        if constexpr (Format::kLayout.hasOffset)
          totals[output] = hn::MulAdd(sum, hn::Set(QuadFloats(), own.offsets[output][factor]), totals[output]);
      }
    }
  }
  for (int64_t output = 0; output < kBlockOutputs; ++output)
    hn::Store(totals[output], QuadFloats(), products + output * 2 * kBlockRows);
}

/// c [row .., first ..] = alpha products (+ c)
void storeProducts(float* products, const TensorDesc& c, int64_t row, int64_t first, float alpha, bool accumulate) {
  alignas(64) float ofRows[2 * kBlockRows][kBlockOutputs];
  transpose(products, kBlockOutputs, 2 * kBlockRows, ofRows[0], kBlockOutputs);
  const int64_t rows = std::min(kBlockRows, c.shape[0] - row), outputs = std::min(kBlockOutputs, c.shape[1] - first);
  withFloatType(c.dtype, "matmul", [&](auto type) HWY_ATTR {
    for (int64_t r = 0; r < rows; ++r) {
      auto* const to = rowOf<decltype(type)>(c, row + r) + first;
      forVectors(outputs, [&](int64_t i, auto part) HWY_ATTR {
        const FloatVector sum = hn::Add(load(ofRows[r] + i, part), load(ofRows[kBlockRows + r] + i, part));
        const FloatVector scaled = hn::Mul(sum, broadcast(alpha));
        store(accumulate ? hn::Add(scaled, load(to + i, part)) : scaled, to + i, part);
      });
    }
  });
}

template <class Format>
void multiplyMatrices(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                      bool accumulate) {
  const int64_t depth = a.shape[1], quads = (depth / kGroup + kQuad - 1) / kQuad;
  const int64_t blocks = (a.shape[0] + kBlockRows - 1) / kBlockRows;
  Scratch scratch;
  auto* const x = scratch.take<QuadOfRows<Format>>(blocks * quads);
  parallelRanges(blocks * quads, kBlockRows * kQuad * kGroup, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) fillRows(a, at / quads * kBlockRows, at % quads * kQuad, x[at]);
  });
  parallelRuns(
      c.shape[1], depth,
      [&](int64_t begin, int64_t end) HWY_ATTR {
        const ByteMatrixUnits units(kUnitValues<Format>);
        Scratch own;
        auto* const weights = own.take<QuadOfOutputs<Format>>(quads);
        alignas(64) float products[kBlockOutputs * 2 * kBlockRows];
        for (int64_t first = begin; first < end; first += kBlockOutputs) {
          unpackOutputs(weight, first, weights);
          for (int64_t block = 0; block < blocks; ++block) {
            multiplyQuads(weights, x + block * quads, quads, products);
            storeProducts(products, c, block * kBlockRows, first, alpha, accumulate);
          }
        }
      },
      kBlockOutputs);
}

bool MultipliesByteMatrices() { return hasMatrixUnits() && __builtin_cpu_supports("amx-int8"); }

void MultiplyBlockMatrices(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                           bool accumulate) {
  withBlockType(weight.dtype, "matmul", [&](auto constant) {
    multiplyMatrices<ByteFormat<decltype(constant)::value>>(a, weight, c, alpha, accumulate);
  });
}

#else

bool MultipliesByteMatrices() { return false; }

void MultiplyBlockMatrices(const TensorDesc&, const TensorDesc&, const TensorDesc&, float, bool) {
  unsupported("matmul of bytes by matrix units");
}

#endif

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MultiplyBlockMatrices);
HWY_EXPORT(MultipliesByteMatrices);

bool prefersBlockMatrices(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c) {
  constexpr int64_t kLeast = 5;
  const bool areRows = a.strides[1] == 1 && weight.strides[1] == 1 && c.strides[1] == 1;
  return c.shape[0] >= kLeast && c.shape[0] <= kFewRows && areRows && HWY_DYNAMIC_DISPATCH(MultipliesByteMatrices)();
}

void multiplyBlockMatrices(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                           bool accumulate) {
  HWY_DYNAMIC_DISPATCH(MultiplyBlockMatrices)(a, weight, c, alpha, accumulate);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
