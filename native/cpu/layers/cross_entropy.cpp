// Softmax cross-entropy of rows of logits and its gradient. A row is read three times (maximum, sum, gradient) and
// comes from memory once: it fits the cache. Logits that are capped are so once, into a row of scratch memory.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/cross_entropy.cpp"
#include <hwy/foreach_target.h>

#include "cpu/layers/softmax_sums-inl.h"
#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// dLogits = exp(x - maximum) / sum, which may be the memory of x. Of capped logits, through the cap: times
/// 1 - (x / softcap)^2.
template <bool kCapped, typename T, typename G>
void writeSoftmax(const T* x, float maximum, double sum, float softcap, G* dLogits, int64_t count) {
  const FloatVector shift = broadcast(maximum), factor = broadcast(static_cast<float>(1.0 / sum));
  const FloatVector inverse = broadcast(kCapped ? 1.0f / softcap : 0.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector value = load(x + i, part);
    FloatVector gradient = hn::Mul(expOf(hn::Sub(value, shift)), factor);
    if constexpr (kCapped) {
      const FloatVector tanh = hn::Mul(value, inverse);
      gradient = hn::NegMulAdd(hn::Mul(tanh, tanh), gradient, gradient);
    }
    store(gradient, dLogits + i, part);
  });
}

/// capped = softcap tanh(x / softcap), which may be the memory of x.
template <typename T, typename C>
void capRow(const T* x, float softcap, C* capped, int64_t count) {
  const FloatVector cap = broadcast(softcap), inverse = broadcast(1.0f / softcap);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    store(hn::Mul(cap, tanhFloat(hn::Mul(load(x + i, part), inverse))), capped + i, part);
  });
}

/// The loss of one row of logits, which are capped where kCapped; its gradient goes to dLogits unless that is null.
template <bool kCapped, typename T, typename G>
float lossOfRow(const T* logits, int32_t target, int64_t count, float softcap, G* dLogits) {
  if (target < 0) {
    if (dLogits) std::fill_n(dLogits, count, G{});
    return 0;
  }
  const float maximum = maximumOf(logits, count);
  const double sum = sumOfExponentials(logits, maximum, count);
  const double chosen = hn::GetLane(load(logits + target, PartVector{1}));
  const double loss = std::log(sum) - (chosen - maximum);
  if (dLogits) {
    writeSoftmax<kCapped>(logits, maximum, sum, softcap, dLogits, count);
    const double slope = kCapped ? 1 - chosen * chosen / (softcap * softcap) : 1;
    // softmax - 1 = exp(-loss) - 1, without the cancellation of subtracting 1 from a probability near 1.
    storeOne(static_cast<float>(slope * std::expm1(-loss)), dLogits + target);
  }
  return static_cast<float>(loss);
}

void LossRows(const TensorDesc& logits, const int32_t* targets, float softcap, float* losses, const TensorDesc& dLogits,
              int64_t begin, int64_t end) {
  const int64_t columns = columnsOf(logits);
  Scratch scratch;
  auto* const capped = softcap > 0 ? scratch.take<float>(columns) : nullptr;
  const DType gradientType = present(dLogits) ? dLogits.dtype : logits.dtype;
  withFloatType(logits.dtype, "crossEntropy", [&](auto type) HWY_ATTR {
    withFloatType(gradientType, "crossEntropy", [&](auto gradientType) HWY_ATTR {
      for (int64_t row = begin; row < end; ++row) {
        auto* const gradient = present(dLogits) ? rowOf<decltype(gradientType)>(dLogits, row) : nullptr;
        const auto* const values = rowOf<const decltype(type)>(logits, row);
        if (softcap > 0 && targets[row] >= 0) {
          capRow(values, softcap, capped, columns);
          losses[row] = lossOfRow<true>(capped, targets[row], columns, softcap, gradient);
        } else {
          losses[row] = lossOfRow<false>(values, targets[row], columns, softcap, gradient);
        }
      }
    });
  });
}

void CapRows(const TensorDesc& logits, float softcap, int64_t begin, int64_t end) {
  withFloatType(logits.dtype, "capLogits", [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) {
      auto* const values = rowOf<decltype(type)>(logits, row);
      capRow(values, softcap, values, columnsOf(logits));
    }
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(LossRows);
HWY_EXPORT(CapRows);

void crossEntropy(TensorDesc logits, TensorDesc targets, float softcap, TensorDesc losses, TensorDesc dLogits) {
  const auto* const wanted = static_cast<const int32_t*>(targets.data);
  for (int64_t row = 0; row < logits.shape[0]; ++row)
    if (wanted[row] >= columnsOf(logits))
      throw std::out_of_range("crossEntropy expected targets below " + std::to_string(columnsOf(logits)) +
                              " but target " + std::to_string(row) + " is " + std::to_string(wanted[row]));
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(LossRows)(logits, wanted, softcap, static_cast<float*>(losses.data), dLogits, begin, end);
  });
}

void capLogits(TensorDesc logits, float softcap) {
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(CapRows)(logits, softcap, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
