#include "cpu/products/tens_of_rows.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/parallel.h"
#include "cpu/prefetch.h"
#include "cpu/products/matrix_units.h"
#include "cpu/products/panel_order.h"
#include "cpu/stored/dequantise.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/products/tens_of_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/simd_float-inl.h"
#include "cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 16;    // rows of activations in a vector
constexpr int64_t kOutputs = 16;  // outputs whose weights are unpacked together

// Activations x [blocks, pairs, kBlock, 2]: a block has pairs of neighbouring columns, of each row in turn.

#if HWY_NATIVE_DOT_BF16 && HWY_ARCH_X86

constexpr bool kMultiplies = true;
using SumTag = hn::FixedTag<float, kBlock>;
using WordTag = hn::FixedTag<uint32_t, kBlock>;
using Shorts = hn::FixedTag<uint16_t, 2 * kBlock>;
using PairTag = hn::FixedTag<hwy::bfloat16_t, 2 * kBlock>;

/// sums [kBlocks, kOutputs, kBlock] = the products of kRows rows of a weight with kBlocks blocks from `block` on.
template <int kRows, int kBlocks>
HWY_INLINE void multiplyTile(const uint16_t* const* weights, const TensorDesc& x, int64_t block, int64_t pairs,
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
      std::memcpy(&both, weights[row] + 2 * pair, sizeof(both));
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

/// sums [blocks, kOutputs, kBlock] = the products of kOutputs rows of a weight.
void multiplyOutputs(const uint16_t* const* weights, const TensorDesc& x, int64_t pairs, float* sums) {
  const auto multiply = [&](int64_t block, auto blocks) HWY_ATTR {
    constexpr int kBlocks = decltype(blocks)::value, kRows = kBlocks == 1 ? 16 : 8;
    for (int64_t row = 0; row < kOutputs; row += kRows)
      multiplyTile<kRows, kBlocks>(weights + row, x, block, pairs, sums + (block * kOutputs + row) * kBlock);
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

void multiplyOutputs(const uint16_t* const*, const TensorDesc&, int64_t, float*) {
  unsupported("matmul of bf16 by pairs");
}

#endif

bool MultipliesPairs() { return kMultiplies; }

/// Outputs [begin, end).
void MultiplyTensOfRows(const TensorDesc& x, const TensorDesc& weight, const TensorDesc& c, int64_t begin, int64_t end,
                        float alpha, bool accumulate) {
  const int64_t depth = weight.shape[1];
  const DTypeTraits traits = traitsOf(weight.dtype);
  const auto bytesOfRow = [&](int64_t values) { return values / traits.blockSize * traits.blockBytes; };
  const int64_t stride = bytesOfRow(weight.strides[0]), used = bytesOfRow(depth);
  Scratch scratch;
  auto* const unpacked = scratch.take<uint16_t>(kOutputs * depth);
  auto* const sums = scratch.take<float>(x.shape[0] * kOutputs * kBlock);
  auto* const ofRows = scratch.take<float>(kBlock * kOutputs);
  for (int64_t first = begin; first < end; first += kOutputs) {
    const int64_t count = std::min(kOutputs, end - first);
    const uint16_t* rows[kOutputs];
    for (int64_t i = 0; i < kOutputs; ++i) {
      const auto* const stored = static_cast<const uint8_t*>(weight.data) + (first + std::min(i, count - 1)) * stride;
      // The next outputs' weights arrive while these are multiplied.
      for (int64_t at = 0; at < used; at += kLine) hwy::Prefetch(stored + kOutputs * stride + at);
      rows[i] = reinterpret_cast<const uint16_t*>(stored);
      if (weight.dtype == DType::bf16) continue;
      dequantiseRow(weight.dtype, stored, depth, DType::bf16, unpacked + i * depth);
      rows[i] = unpacked + i * depth;
    }
    multiplyOutputs(rows, x, depth / 2, sums);
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
HWY_EXPORT(MultipliesPairs);

bool prefersTensOfRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c) {
  // Blocks of fewer rows are too empty; with more, the order of the weight costs less than it saves.
  constexpr int64_t kLeast = 25, kMost = 64;
  // Matrix units multiply faster than these vectors, whatever the order costs.
  static const bool multiplies = HWY_DYNAMIC_DISPATCH(MultipliesPairs)() && !hasMatrixUnits();
  const bool areRows = a.rank == 2 && a.strides[1] == 1 && weight.strides[1] == 1 && c.strides[1] == 1;
  return multiplies && areRows && a.dtype == DType::bf16 && a.shape[1] % 2 == 0 && c.shape[0] >= kLeast &&
         c.shape[0] <= kMost;
}

void multiplyTensOfRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                        bool accumulate) {
  constexpr int64_t kRows = 16, kBlockColumns = 32;
  const int64_t rows = a.shape[0], depth = a.shape[1], blocks = (rows + kRows - 1) / kRows;
  const int64_t values = (depth + kBlockColumns - 1) / kBlockColumns * kBlockColumns * kRows;  // of a block
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
  parallelRanges(
      c.shape[1], depth * rows,
      [&](int64_t begin, int64_t end) {
        HWY_DYNAMIC_DISPATCH(MultiplyTensOfRows)
        (x, weight, c, begin, end, alpha, accumulate);
      },
      kRows);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
