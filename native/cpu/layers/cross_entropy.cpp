// Softmax cross-entropy of rows of logits and its gradient. A row is read three times (maximum, sum, gradient) but
// comes from memory once, since it fits the cache. Capped logits are computed once, into a row of scratch memory.
//
// In parts of the columns, exponentials are of differences from the largest logit so far; when a larger one comes, the
// earlier sums are multiplied by e^(old - new). The target's own part of the gradient, softmax - 1, is added at the
// end.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/cross_entropy.cpp"
#include <hwy/foreach_target.h>

#include "cpu/layers/softmax_sums-inl.h"
#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// dLogits = exp(x - maximum) / sum, which may be the memory of x. For capped logits also times 1 - (x / softcap)^2.
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

/// The loss of one row of logits, which are capped if kCapped; writes the gradient to dLogits unless it is null.
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

/// Returns the sum of e^(x - shift) in f64, and writes the summands to `exponentials`, through the cap, unless it is
/// null. They may be the memory of x.
template <bool kCapped, typename G>
double sumOfPart(const float* x, float shift, float softcap, G* exponentials, int64_t count) {
  if (!exponentials) return sumOfExponentials(x, shift, count);
  const hn::Repartition<double, FloatTag> wide;
  const FloatVector least = broadcast(shift), inverse = broadcast(kCapped ? 1.0f / softcap : 0.0f);
  auto lower = hn::Zero(wide), upper = hn::Zero(wide);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector value = load(x + i, part);
    FloatVector v = expOf(hn::Sub(value, least));
    if constexpr (std::is_same_v<decltype(part), PartVector>)
      v = hn::IfThenElseZero(hn::FirstN(FloatTag(), part.count), v);
    lower = hn::Add(lower, hn::PromoteLowerTo(wide, v));
    upper = hn::Add(upper, hn::PromoteUpperTo(wide, v));
    if constexpr (kCapped) {
      const FloatVector tanh = hn::Mul(value, inverse);
      v = hn::NegMulAdd(hn::Mul(tanh, tanh), v, v);
    }
    store(v, exponentials + i, part);
  });
  return hn::ReduceSum(wide, hn::Add(lower, upper));
}

/// The state of a row after some parts of its logits.
struct Running {
  float largest, sum, sumRest;  // the sum is sum + sumRest, with nearly the precision of f64
  float chosen;                 // infinity until the target's part comes; if it is still infinite then, the sum is NaN

  double total() const { return static_cast<double>(sum) + static_cast<double>(sumRest); }
  bool lacksTarget() const { return chosen == INFINITY && !std::isnan(sum); }
  void setTotal(double total) {
    sum = static_cast<float>(total);
    sumRest = static_cast<float>(total - static_cast<double>(sum));
  }
};

/// Adds a part of a row of logits, which are capped if kCapped. Returns the factor for earlier sums.
template <bool kCapped, typename G>
float takePart(const float* logits, int64_t target, int64_t count, float softcap, Running& row, G* exponentials) {
  const float before = row.largest, largest = std::max(before, maximumOf(logits, count));
  // Only -infinity: its exponentials are 0, while the difference of two infinities would be NaN.
  const float shift = largest == -INFINITY ? 0 : largest;
  if (target >= 0 && target < count) row.chosen = logits[target];
  const double sum = sumOfPart<kCapped>(logits, shift, softcap, exponentials, count);
  const double shrunk = std::exp(static_cast<double>(before) - static_cast<double>(shift));
  row.largest = largest;
  row.setTotal(row.total() * shrunk + sum);
  if (exponentials && target >= 0 && target < count) storeOne(0, exponentials + target);
  return static_cast<float>(shrunk);
}

void PartOfRows(const TensorDesc& logits, const int32_t* targets, LogitsPart part, const TensorDesc& running,
                const TensorDesc& exponentials, const TensorDesc& sums, int64_t begin, int64_t end) {
  const int64_t columns = columnsOf(logits);
  Scratch scratch;
  auto* const capped = part.softcap > 0 ? scratch.take<float>(columns) : nullptr;
  withFloatType(present(exponentials) ? exponentials.dtype : DType::f32, "crossEntropyPart", [&](auto type) HWY_ATTR {
    for (int64_t n = begin; n < end; ++n) {
      auto& row = *reinterpret_cast<Running*>(rowOf<float>(running, n));
      auto* const to = present(exponentials) ? rowOf<decltype(type)>(exponentials, n) : nullptr;
      if (part.first == 0) row = {-INFINITY, 0, 0, INFINITY};
      if (targets[n] < 0) {
        if (to) std::fill_n(to, columns, decltype(type){});
        continue;
      }
      const float* const values = rowOf<const float>(logits, n);
      const int64_t target = targets[n] - part.first;
      float shrunk;
      if (part.softcap > 0) {
        capRow(values, part.softcap, capped, columns);
        shrunk = takePart<true>(capped, target, columns, part.softcap, row, to);
      } else {
        shrunk = takePart<false>(values, target, columns, part.softcap, row, to);
      }
      if (!present(sums) || part.first == 0 || shrunk == 1) continue;
      float* const earlier = rowOf<float>(sums, n);
      const FloatVector factor = broadcast(shrunk);
      forVectors(columnsOf(sums), [&](int64_t i, auto some)
                                      HWY_ATTR { store(hn::Mul(load(earlier + i, some), factor), earlier + i, some); });
    }
  });
}

/// dX = scale (sums / the sum of exponentials + (softmax - 1) dX)
void EndRows(const TensorDesc& running, const int32_t* targets, float softcap, float scale, const TensorDesc& sums,
             float* losses, const TensorDesc& dX, int64_t begin, int64_t end) {
  withFloatType(present(dX) ? dX.dtype : DType::f32, "crossEntropyOfParts", [&](auto type) HWY_ATTR {
    for (int64_t n = begin; n < end; ++n) {
      const auto& row = *reinterpret_cast<const Running*>(rowOf<const float>(running, n));
      if (targets[n] >= 0 && row.lacksTarget())
        throw std::out_of_range("crossEntropyOfParts expected targets among the columns of the parts but target " +
                                std::to_string(n) + " is " + std::to_string(targets[n]));
      const double chosen = row.chosen, sum = row.total(), loss = std::log(sum) - (chosen - row.largest);
      losses[n] = targets[n] < 0 ? 0 : static_cast<float>(loss);
      if (!present(dX)) continue;
      auto* const gradient = rowOf<decltype(type)>(dX, n);
      if (targets[n] < 0) {
        std::fill_n(gradient, columnsOf(dX), decltype(type){});
        continue;
      }
      const double slope = softcap > 0 ? 1 - chosen * chosen / (softcap * softcap) : 1;
      const FloatVector ofOthers = broadcast(static_cast<float>(scale / sum));
      const FloatVector ofTarget = broadcast(static_cast<float>(scale * slope * std::expm1(-loss)));
      const float* const others = rowOf<const float>(sums, n);
      forVectors(columnsOf(dX), [&](int64_t i, auto part) HWY_ATTR {
        const FloatVector target = hn::Mul(load(gradient + i, part), ofTarget);
        store(hn::MulAdd(load(others + i, part), ofOthers, target), gradient + i, part);
      });
    }
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
HWY_EXPORT(PartOfRows);
HWY_EXPORT(EndRows);

namespace {

std::byte* rowAt(const TensorDesc& matrix, int64_t row) {
  return static_cast<std::byte*>(matrix.data) + row * matrix.strides[0] * traitsOf(matrix.dtype).blockBytes;
}

}  // namespace

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

void crossEntropyPart(TensorDesc logits, TensorDesc targets, LogitsPart part, TensorDesc values, TensorDesc running,
                      TensorDesc exponentials, TensorDesc sums, TensorDesc chosen) {
  const auto* const wanted = static_cast<const int32_t*>(targets.data);
  const int64_t columns = columnsOf(logits);
  parallelRanges(logits.shape[0], columns, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(PartOfRows)(logits, wanted, part, running, exponentials, sums, begin, end);
    if (!present(chosen)) return;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t target = wanted[row] - part.first;
      if (wanted[row] < 0 || target < 0 || target >= columns) continue;
      convertRow(values.dtype, rowAt(values, target), chosen.dtype, rowAt(chosen, row), columnsOf(chosen));
    }
  });
}

void crossEntropyOfParts(TensorDesc running, TensorDesc targets, float softcap, float scale, TensorDesc sums,
                         TensorDesc losses, TensorDesc dX) {
  const auto* const wanted = static_cast<const int32_t*>(targets.data);
  const int64_t columns = present(dX) ? columnsOf(dX) : 1;
  parallelRanges(losses.shape[0], columns, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(EndRows)
    (running, wanted, softcap, scale, sums, static_cast<float*>(losses.data), dX, begin, end);
  });
}

void capLogits(TensorDesc logits, float softcap) {
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(CapRows)(logits, softcap, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
