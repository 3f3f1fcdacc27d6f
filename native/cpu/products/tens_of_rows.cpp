#include "cpu/products/tens_of_rows.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/parallel.h"
#include "cpu/prefetch.h"
#include "cpu/products/panel_order.h"
#include "cpu/stored/dequantise.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/products/tens_of_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/products/matrix_units-inl.h"
#include "cpu/simd_float-inl.h"
#include "cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 16;    // rows of activations in a vector
constexpr int64_t kOutputs = 16;  // outputs whose weights are unpacked together

// Activations x [blocks, pairs, kBlock, 2]: a block has pairs of neighbouring columns, of each row in turn. Matrix
// units read a right operand in this order, too.

/// Rows [kOutputs, depth] of a weight in bf16.
struct Weights {
  const uint16_t* values;
  int64_t stride;
};

#if HWY_NATIVE_DOT_BF16 && HWY_ARCH_X86

constexpr bool kMultiplies = true;
using SumTag = hn::FixedTag<float, kBlock>;
using WordTag = hn::FixedTag<uint32_t, kBlock>;
using Shorts = hn::FixedTag<uint16_t, 2 * kBlock>;
using PairTag = hn::FixedTag<hwy::bfloat16_t, 2 * kBlock>;

/// sums [kBlocks, kOutputs, kBlock] = the products of kRows rows of a weight with kBlocks blocks from `block` on.
template <int kRows, int kBlocks>
HWY_INLINE void multiplyTile(const Weights& weights, const TensorDesc& x, int64_t block, int64_t pairs,
                             float* HWY_RESTRICT sums) {
  hn::Vec<SumTag> own[kRows][kBlocks];
  for (auto& row : own)
    for (auto& sum : row) sum = hn::Zero(SumTag());
  const uint16_t* blocks[kBlocks];
  for (int i = 0; i < kBlocks; ++i) blocks[i] = rowOf<const uint16_t>(x, block + i);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    hn::Vec<PairTag> values[kBlocks];
#pragma GCC unroll 4
    for (int i = 0; i < kBlocks; ++i)
      values[i] = hn::BitCast(PairTag(), hn::Load(Shorts(), blocks[i] + pair * 2 * kBlock));
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      uint32_t both;
      std::memcpy(&both, weights.values + row * weights.stride + 2 * pair, sizeof(both));
      const auto weight = hn::BitCast(PairTag(), hn::Set(WordTag(), both));
#pragma GCC unroll 4
      for (int i = 0; i < kBlocks; ++i) {
        auto unused = hn::Zero(SumTag());
        own[row][i] = hn::ReorderWidenMulAccumulate(SumTag(), values[i], weight, own[row][i], unused);
      }
    }
  }
  for (int row = 0; row < kRows; ++row)
    for (int i = 0; i < kBlocks; ++i) hn::Store(own[row][i], SumTag(), sums + (i * kOutputs + row) * kBlock);
}

/// sums [blocks, kOutputs, kBlock] = the products of a weight's rows.
void multiplyByVectors(const Weights& weights, const TensorDesc& x, int64_t depth, float* sums) {
  const auto multiply = [&](int64_t block, auto blocks) HWY_ATTR {
    constexpr int kBlocks = decltype(blocks)::value, kRows = kBlocks == 1 ? 16 : 8;
    for (int64_t row = 0; row < kOutputs; row += kRows)
      multiplyTile<kRows, kBlocks>({weights.values + row * weights.stride, weights.stride}, x, block, depth / 2,
                                   sums + (block * kOutputs + row) * kBlock);
  };
  for (int64_t block = 0; block < x.shape[0];) {
    const int64_t left = x.shape[0] - block;
    if (left == 1) {
      multiply(block, std::integral_constant<int, 1>());
      block += 1;
    } else if (left == 3) {
      multiply(block, std::integral_constant<int, 3>());
      block += 3;
    } else {
      multiply(block, std::integral_constant<int, 2>());
      block += 2;
    }
  }
}

#else

constexpr bool kMultiplies = false;

void multiplyByVectors(const Weights&, const TensorDesc&, int64_t, float*) { unsupported("matmul of bf16 by pairs"); }

#endif

#if MORA_MATRIX_UNITS

/// sums [kBlocks, kOutputs, kBlock] = the products of a weight's rows with kBlocks blocks from `block` on.
template <int kBlocks>
HWY_INLINE void multiplyMatrices(const Weights& weights, const TensorDesc& x, int64_t block, int64_t depth,
                                 float* sums) {
  constexpr int kWeights = 4, kValues = 5;  // registers; the sums are in the first ones
  const auto* const values = rowOf<const uint16_t>(x, block);
  const int64_t ofBlock = x.strides[0];
  const auto forBlocks = [](const auto& body) HWY_ATTR {
    body(std::integral_constant<int, 0>());
    if constexpr (kBlocks > 1) body(std::integral_constant<int, 1>());
    if constexpr (kBlocks > 2) body(std::integral_constant<int, 2>());
    if constexpr (kBlocks > 3) body(std::integral_constant<int, 3>());
  };
  forBlocks([](auto i) HWY_ATTR { clearMatrix<decltype(i)::value>(); });
  for (int64_t at = 0; at < depth; at += kPackedRows) {
    loadMatrix<kWeights>(weights.values + at, weights.stride / 2);
    forBlocks([&](auto i) HWY_ATTR {
      constexpr int kSum = decltype(i)::value, kRight = kValues + kSum % 3;
      loadMatrix<kRight>(values + kSum * ofBlock + at * kBlock, kBlock);
      addProduct<kSum, kWeights, kRight>();
    });
  }
  forBlocks([&](auto i) HWY_ATTR {
    constexpr int kSum = decltype(i)::value;
    storeMatrix<kSum>(sums + (block + kSum) * kOutputs * kBlock, kBlock);
  });
}

/// The same as multiplyByVectors, for a `depth` of whole kPackedRows.
void multiplyByMatrices(const Weights& weights, const TensorDesc& x, int64_t depth, float* sums) {
  int64_t block = 0;
  for (; block + 4 <= x.shape[0]; block += 4) multiplyMatrices<4>(weights, x, block, depth, sums);
  const int64_t left = x.shape[0] - block;
  if (left == 1) multiplyMatrices<1>(weights, x, block, depth, sums);
  if (left == 2) multiplyMatrices<2>(weights, x, block, depth, sums);
  if (left == 3) multiplyMatrices<3>(weights, x, block, depth, sums);
}

#else

void multiplyByMatrices(const Weights& weights, const TensorDesc& x, int64_t depth, float* sums) {
  multiplyByVectors(weights, x, depth, sums);
}

#endif

/// The least number of rows for which these kernels are faster than others. Vectors of fewer rows are too empty, matrix
/// units are not.
int64_t LeastRows() {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  if (hasMatrixUnits()) return MORA_MATRIX_UNITS ? 2 : kNever;
  return kMultiplies ? 25 : kNever;
}

/// Outputs [begin, end).
void MultiplyTensOfRows(const TensorDesc& x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t end,
                        float alpha, bool accumulate) {
  const int64_t depth = weight.shape[1], padded = paddedRows(depth);
  const DTypeTraits traits = traitsOf(weight.dtype);
  const auto bytesOfRow = [&](int64_t values) { return values / traits.blockSize * traits.blockBytes; };
  const int64_t stride = bytesOfRow(weight.strides[0]), used = bytesOfRow(depth);
  const bool byMatrices = MORA_MATRIX_UNITS && hasMatrixUnits();
  std::optional<MatrixUnits<hwy::bfloat16_t>> units;
  if (byMatrices) units.emplace();
  Scratch scratch;
  auto* const unpacked = scratch.take<uint16_t>(kOutputs * padded);
  std::fill_n(unpacked, kOutputs * padded, uint16_t{0});
  auto* const sums = scratch.take<float>(x.shape[0] * kOutputs * kBlock);
  auto* const ofRows = scratch.take<float>(kBlock * kOutputs);
  const bool isReadable = weight.dtype == DType::bf16 && depth == padded && weight.strides[0] % 2 == 0;
  for (int64_t first = begin; first < end; first += kOutputs) {
    const int64_t count = std::min(kOutputs, end - first);
    const auto* const stored = static_cast<const uint8_t*>(weight.data) + first * stride;
    const bool inPlace = isReadable && count == kOutputs;
    for (int64_t i = 0; i < count; ++i) {
      const auto* const row = stored + i * stride;
      // The next outputs' weights arrive while these are multiplied. Processors with matrix units fetch them anyway.
      for (int64_t at = 0; at < used && !byMatrices; at += kLine) hwy::Prefetch(row + kOutputs * stride + at);
      if (!inPlace) dequantiseRow(weight.dtype, row, depth, DType::bf16, unpacked + i * padded);
    }
    const Weights weights =
        inPlace ? Weights{reinterpret_cast<const uint16_t*>(stored), weight.strides[0]} : Weights{unpacked, padded};
    if (byMatrices)
      multiplyByMatrices(weights, x, padded, sums);
    else
      multiplyByVectors(weights, x, padded, sums);
    withFloatType(c.dtype, "matmul", [&](auto type) HWY_ATTR {
      for (int64_t row = 0; row < c.shape[0]; ++row) {
        if (row % kBlock == 0) transpose(sums + row * kOutputs, kOutputs, kBlock, ofRows, kOutputs);
        const float* const from = ofRows + row % kBlock * kOutputs;
        auto* const to = rowOf<decltype(type)>(c, row) + first;
        forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
          const FloatVector scaled = hn::Mul(load(from + i, part), broadcast(alpha));
          store(accumulate ? hn::Add(scaled, load(to + i, part)) : scaled, to + i, part);
        });
      }
    });
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MultiplyTensOfRows);
HWY_EXPORT(LeastRows);

bool prefersTensOfRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c) {
  static const int64_t least = HWY_DYNAMIC_DISPATCH(LeastRows)();
  constexpr int64_t kMost = 64;  // with more rows, the order of the weight costs less than it saves
  const bool areRows = a.rank == 2 && a.strides[1] == 1 && weight.strides[1] == 1 && c.strides[1] == 1;
  return areRows && a.dtype == DType::bf16 && a.shape[1] % 2 == 0 && c.shape[0] >= least && c.shape[0] <= kMost;
}

void multiplyTensOfRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                        bool accumulate) {
  constexpr int64_t kRows = 16;
  const int64_t rows = a.shape[0], depth = a.shape[1], blocks = (rows + kRows - 1) / kRows;
  const int64_t values = paddedRows(depth) * kRows;  // of a block
  Scratch scratch;
  auto* const ordered = scratch.take<uint16_t>(blocks * values);
  parallelRanges(blocks, kRows * depth, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRows, count = std::min(kRows, rows - first);
      RightOperand turned{rowOf<const uint16_t>(a, first), depth, count, 1, a.strides[0]};
      Scratch own;
      if (count < kRows) {
        // Whole blocks are reordered faster.
        auto* const whole = own.take<uint16_t>(kRows * depth);
        for (int64_t i = 0; i < count; ++i) std::copy_n(turned.values + i * a.strides[0], depth, whole + i * depth);
        std::fill(whole + count * depth, whole + kRows * depth, uint16_t{0});
        turned = {whole, depth, kRows, 1, depth};
      }
      packPairs(turned, kRows, ordered + block * values);
    }
  });
  const TensorDesc x{ordered, DType::bf16, 2, {blocks, values}, {values, 1}};
  parallelRuns(
      c.shape[1], depth,
      [&](int64_t begin, int64_t end) {
        HWY_DYNAMIC_DISPATCH(MultiplyTensOfRows)
        (x, weight, c, begin, end, alpha, accumulate);
      },
      kRows);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
