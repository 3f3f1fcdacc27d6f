// Small matrix products for attention, with tiles of f32 accumulators in registers, and the layouts they read.
//
// Operands consist of *units* of 4 bytes: one f32, or two consecutive bf16 along the reduction, which one instruction
// multiplies and adds (P is the packed type). bf16 tensors are packed as bf16 only if that instruction is faster than
// two f32 products; otherwise they are widened to f32, and f16 always is.
//
//   left   [rows, steps] units, by rows or by columns; single units are broadcast
//   right  [steps, columns] units, by rows; read as vectors
//   result [rows, columns] f32
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_ATTENTION_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_ATTENTION_PRODUCTS_INL_H_
#undef MORA_CPU_ATTENTION_PRODUCTS_INL_H_
#else
#define MORA_CPU_ATTENTION_PRODUCTS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>
#include <type_traits>

#include "cpu/attention/attention_plan.h"
#include "cpu/products/matrix_units-inl.h"
#include "cpu/simd_float-inl.h"
#include "cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

using Unit = uint32_t;
using UnitTag = hn::RebindToUnsigned<FloatTag>;

constexpr int64_t kLanes = hn::MaxLanes(FloatTag());

#if MORA_MATRIX_UNITS
// Matrix units multiply 16 rows, and 16 units (pairs) of a reduction over rows. Without them, 4 x 4 accumulators.
constexpr int64_t kTileRows = kMatrixRows, kRegisterRows = 4, kRowMultiple = 2 * kMatrixRows;
#else
// 6 x 4 accumulators, 4 vectors and a broadcast fit 32 registers; 6 x 2, 2 and 1 fit 16.
constexpr int64_t kTileRows = 6, kRegisterRows = 6, kRowMultiple = 6;
#endif
constexpr int64_t kTileVectors = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 4 : 2;
constexpr int64_t kPanel = kTileVectors * kLanes;

/// Calls body(P{}) with the type that T is packed as. On Zen 4 a bf16 dot product takes as long as an f32 product of
/// half as many terms; on Sapphire Rapids (measured) four times as long, but there are matrix units.
template <typename T, class Body>
HWY_INLINE void withPackedType(Body&& body) {
  [[maybe_unused]] constexpr bool kIsBfloat16 = std::is_same_v<T, hwy::bfloat16_t>;
#if MORA_MATRIX_UNITS
  if constexpr (kIsBfloat16) {
    if (hasMatrixUnits()) return body(T{});
  }
  body(float{});
#elif HWY_NATIVE_DOT_BF16
  body(std::conditional_t<kIsBfloat16, T, float>{});
#else
  body(float{});
#endif
}

/// Terms of the reduction in a unit.
template <class P>
constexpr int64_t kTerms = sizeof(Unit) / sizeof(P);

constexpr int64_t kStepMultiple = MORA_MATRIX_UNITS ? kTileRows : 1;     // of reductions over bf16
constexpr int64_t kKeyMultiple = MORA_MATRIX_UNITS ? 2 * kTileRows : 4;  // packed keys, padded with zeros

template <class P>
HWY_INLINE FloatVector multiplyAdd(hn::Vec<UnitTag> a, hn::Vec<UnitTag> b, FloatVector sum) {
  if constexpr (std::is_same_v<P, float>) {
    return hn::MulAdd(hn::BitCast(FloatTag(), a), hn::BitCast(FloatTag(), b), sum);
  } else {
    const hn::Repartition<P, FloatTag> tag;
    FloatVector unused = hn::Zero(FloatTag());
    return hn::ReorderWidenMulAccumulate(FloatTag(), hn::BitCast(tag, a), hn::BitCast(tag, b), sum, unused);
  }
}

enum class Left { byRows, byColumns };  // unit (row, step) at row * stride + step, or at step * stride + row
enum class Start { zero, result, scaledResult };

#if MORA_MATRIX_UNITS
/// result [16, kCount * 16] = start + left [16, steps] right [steps, kCount * 16] by matrix units; steps are a multiple
/// of 16.
template <Left kLeft, Start kStart, int kCount>
HWY_NOINLINE void multiplyMatrices(const Unit* HWY_RESTRICT left, int64_t leftStride, const Unit* HWY_RESTRICT right,
                                   int64_t rightStride, int64_t steps, float* HWY_RESTRICT result, int64_t resultStride,
                                   const float* HWY_RESTRICT factors) {
  if constexpr (kStart == Start::scaledResult) {
    for (int64_t row = 0; row < kMatrixRows; ++row) {
      if (factors[row] == 1.0f) continue;  // as in most blocks but the first
      for (int64_t i = 0; i < kCount * kMatrixRows; i += kLanes) {
        float* const at = result + row * resultStride + i;
        hn::StoreU(hn::Mul(hn::LoadU(FloatTag(), at), broadcast(factors[row])), FloatTag(), at);
      }
    }
  }
  const auto forEach = [](auto&& body) HWY_ATTR {
    body(std::integral_constant<int, 0>());
    if constexpr (kCount > 1) body(std::integral_constant<int, 1>());
    if constexpr (kCount > 2) body(std::integral_constant<int, 2>());
    if constexpr (kCount > 3) body(std::integral_constant<int, 3>());
  };
  forEach([&](auto i) HWY_ATTR {
    if constexpr (kStart == Start::zero)
      clearMatrix<i>();
    else
      loadMatrix<i>(result + i * kMatrixRows, resultStride);
  });
  for (int64_t step = 0; step < steps; step += kMatrixRows) {
    alignas(64) Unit turned[kMatrixRows * kMatrixRows];
    if constexpr (kLeft == Left::byRows) {
      loadMatrix<4>(left + step, leftStride);
    } else {
      transposeUnits(left + step * leftStride, leftStride, kMatrixRows, kMatrixRows, turned, kMatrixRows);
      loadMatrix<4>(turned, kMatrixRows);
    }
    forEach([&](auto i) HWY_ATTR {
      loadMatrix<5 + i % 2>(right + step * rightStride + i * kMatrixRows, rightStride);
      addProduct<i, 4, 5 + i % 2>();
    });
  }
  forEach([&](auto i) HWY_ATTR { storeMatrix<i>(result + i * kMatrixRows, resultStride); });
}
#endif

/// One tile: result [kRegisterRows, kCount vectors] = start + left [.., steps] right [steps, kCount vectors]. `factors`
/// scale the rows of the old result that a scaled start reads.
template <class P, Left kLeft, Start kStart, int kCount>
HWY_NOINLINE void multiplyTile(const Unit* HWY_RESTRICT left, int64_t leftStride, const Unit* HWY_RESTRICT right,
                               int64_t rightStride, int64_t steps, float* HWY_RESTRICT result, int64_t resultStride,
                               const float* HWY_RESTRICT factors) {
  const FloatTag tag;
  const UnitTag units;
  FloatVector sums[kRegisterRows][kCount];
#pragma GCC unroll 6
  for (int64_t row = 0; row < kRegisterRows; ++row) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kCount; ++i) {
      if constexpr (kStart == Start::zero) {
        sums[row][i] = hn::Zero(tag);
      } else {
        sums[row][i] = hn::LoadU(tag, result + row * resultStride + i * kLanes);
        if constexpr (kStart == Start::scaledResult) sums[row][i] = hn::Mul(sums[row][i], broadcast(factors[row]));
      }
    }
  }
  const Unit* HWY_RESTRICT upper = left;
  const Unit* HWY_RESTRICT lower =
      kLeft == Left::byRows ? left + kRegisterRows / 2 * leftStride : left + kRegisterRows / 2;
  const int64_t rowStride = kLeft == Left::byRows ? leftStride : 1;
  const int64_t stepStride = kLeft == Left::byRows ? 1 : leftStride;
  for (int64_t step = 0; step < steps; ++step) {
    hn::Vec<UnitTag> columns[kCount];
#pragma GCC unroll 4
    for (int64_t i = 0; i < kCount; ++i) columns[i] = hn::LoadU(units, right + i * kLanes);
#pragma GCC unroll 6
    for (int64_t row = 0; row < kRegisterRows; ++row) {
      const auto term = hn::Set(
          units, row < kRegisterRows / 2 ? upper[row * rowStride] : lower[(row - kRegisterRows / 2) * rowStride]);
#pragma GCC unroll 4
      for (int64_t i = 0; i < kCount; ++i) sums[row][i] = multiplyAdd<P>(term, columns[i], sums[row][i]);
    }
    upper += stepStride;
    lower += stepStride;
    right += rightStride;
  }
#pragma GCC unroll 6
  for (int64_t row = 0; row < kRegisterRows; ++row) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kCount; ++i) hn::StoreU(sums[row][i], tag, result + row * resultStride + i * kLanes);
  }
}

/// result [kTileRows, columns] = start + left [kTileRows, steps] right [steps, columns], columns rounded up to whole
/// vectors.
template <class P, Left kLeft, Start kStart>
HWY_INLINE void multiplyRows(const Unit* left, int64_t leftStride, const Unit* right, int64_t rightStride,
                             int64_t steps, float* result, int64_t resultStride, int64_t columns,
                             const float* factors = nullptr) {
  const auto tile = [&](auto count, int64_t column) HWY_ATTR {
#if MORA_MATRIX_UNITS
    if constexpr (!std::is_same_v<P, float>) {
      return multiplyMatrices<kLeft, kStart, decltype(count)::value>(left, leftStride, right + column, rightStride,
                                                                     steps, result + column, resultStride, factors);
    }
#endif
    for (int64_t row = 0; row < kTileRows; row += kRegisterRows) {
      multiplyTile<P, kLeft, kStart, decltype(count)::value>(
          left + row * (kLeft == Left::byRows ? leftStride : 1), leftStride, right + column, rightStride, steps,
          result + row * resultStride + column, resultStride, factors + row);
    }
  };
  int64_t column = 0;
  for (; column + kPanel - kLanes < columns; column += kPanel) {
    tile(std::integral_constant<int, static_cast<int>(kTileVectors)>(), column);
  }
  const int64_t rest = columns - column;
  if (rest <= 0) return;
  if (rest <= kLanes) return tile(std::integral_constant<int, 1>(), column);
  if constexpr (kTileVectors == 4) {
    if (rest <= 2 * kLanes) return tile(std::integral_constant<int, 2>(), column);
    tile(std::integral_constant<int, 3>(), column);
  }
}

/// Strides, in units, of rows of E values packed along E, and of rows of E columns.
template <class P>
int64_t packedStride(int64_t E) {
  return roundUp((E + kTerms<P> - 1) / kTerms<P>, kLanes);
}
inline int64_t columnStride(int64_t E) { return roundUp(E, kLanes); }

/// Packs a row of E values along E, with zeros up to the stride.
template <class P, typename T>
HWY_INLINE void packRow(const T* from, int64_t E, Unit* to) {
  if constexpr (std::is_same_v<P, float>) {
    float* target = reinterpret_cast<float*>(to);
    forVectors(E, [&](int64_t i, auto part) HWY_ATTR { hn::StoreU(load(from + i, part), FloatTag(), target + i); });
  } else {
    static_assert(std::is_same_v<P, T>);
    std::memcpy(to, from, static_cast<size_t>(E) * sizeof(T));
    std::memset(reinterpret_cast<T*>(to) + E, 0, static_cast<size_t>(packedStride<P>(E) * kTerms<P> - E) * sizeof(T));
  }
}

/// Number of steps of a reduction over `count` values. Matrix units take multiples of 16, with zeros past the end.
template <class P>
constexpr int64_t stepsOf(int64_t count) {
  const int64_t steps = (count + kTerms<P> - 1) / kTerms<P>;
  return kTerms<P> == 2 ? roundUp(steps, kStepMultiple) : steps;
}

/// Rows of zeros [count, stride].
inline void clearRows(Unit* to, int64_t count, int64_t stride) {
  if (count > 0) std::memset(to, 0, static_cast<size_t>(count * stride) * sizeof(Unit));
}

template <class V16>
HWY_INLINE hn::Vec<UnitTag> pairUnits(V16 even, V16 odd) {
  const UnitTag units;
  return hn::Or(hn::PromoteTo(units, even), hn::ShiftLeft<16>(hn::PromoteTo(units, odd)));
}

/// to [rows / 2, columns] = pairs along the rows of from [rows, columns], which is packed along its columns as bf16.
HWY_INLINE void pairRows(const Unit* from, int64_t fromStride, int64_t rows, int64_t columns, Unit* to,
                         int64_t toStride) {
  const hn::Rebind<uint16_t, FloatTag> half;
  for (int64_t row = 0; row < rows; row += 2) {
    const auto* even = reinterpret_cast<const uint16_t*>(from + row * fromStride);
    const auto* odd = reinterpret_cast<const uint16_t*>(from + (row + 1) * fromStride);
    for (int64_t i = 0; i < columns; i += kLanes) {
      hn::StoreU(pairUnits(hn::LoadU(half, even + i), hn::LoadU(half, odd + i)), UnitTag(), to + i);
    }
    to += toStride;
  }
}

HWY_INLINE hn::Vec<hn::Rebind<uint16_t, FloatTag>> roundUnits(FloatVector v) {
  return hn::BitCast(hn::Rebind<uint16_t, FloatTag>(), hn::DemoteTo(hn::Rebind<hwy::bfloat16_t, FloatTag>(), v));
}

/// Rounds f32 values [count] to bf16, packed along the row; count is rounded up to whole vectors.
HWY_INLINE void roundRow(const float* from, int64_t count, Unit* to) {
  auto* target = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < count; i += kLanes) {
    hn::StoreU(roundUnits(hn::LoadU(FloatTag(), from + i)), hn::Rebind<uint16_t, FloatTag>(), target + i);
  }
}

/// Rounds two f32 rows [count] to bf16, packed in pairs of the rows; count is rounded up to whole vectors.
HWY_INLINE void roundRowPair(const float* even, const float* odd, int64_t count, Unit* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto first = roundUnits(hn::LoadU(FloatTag(), even + i)), second = roundUnits(hn::LoadU(FloatTag(), odd + i));
    hn::StoreU(pairUnits(first, second), UnitTag(), to + i);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
