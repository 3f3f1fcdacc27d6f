// LayerNorm (arXiv 1607.06450) over rows and its gradient.
#include <cmath>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/row_chunks.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/layer_norm.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

struct Statistics {
  float mean, rstd;
};

/// The variance is computed from deviations from the mean, which avoids cancellation.
template <typename T>
Statistics statisticsOf(const T* x, float epsilon, int64_t count) {
  const FloatTag tag;
  FloatVector sum = broadcast(0.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR { sum = hn::Add(sum, load(x + i, part)); });
  const float mean = hn::ReduceSum(tag, sum) / static_cast<float>(count);
  FloatVector squares = broadcast(0.0f);
  const FloatVector shift = broadcast(mean);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector deviation = hn::Sub(load(x + i, part), shift);
    if constexpr (std::is_same_v<decltype(part), PartVector>)
      deviation = hn::IfThenElseZero(hn::FirstN(tag, part.count), deviation);
    squares = hn::MulAdd(deviation, deviation, squares);
  });
  const double variance = static_cast<double>(hn::ReduceSum(tag, squares)) / static_cast<double>(count);
  return {mean, static_cast<float>(1.0 / std::sqrt(variance + epsilon))};
}

/// (x - mean) rstd
template <typename T, class Part>
HWY_INLINE FloatVector normalised(const T* x, const Statistics& statistics, Part part) {
  return hn::Mul(hn::Sub(load(x, part), broadcast(statistics.mean)), broadcast(statistics.rstd));
}

/// `bias` may be null.
template <typename T>
void normaliseRow(const T* x, const float* weight, const float* bias, Statistics statistics, T* y, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector shift = bias ? load(bias + i, part) : hn::Zero(FloatTag());
    store(hn::MulAdd(normalised(x + i, statistics, part), load(weight + i, part), shift), y + i, part);
  });
}

/// Computes the statistics if `epsilon` is given, else reads them.
void NormRows(const TensorDesc& x, const float* weight, const float* bias, const float* epsilon, const TensorDesc& y,
              float* mean, float* rstd, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "layerNorm", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t columns = columnsOf(x);
    for (int64_t row = begin; row < end; ++row) {
      const T* const values = rowOf<const T>(x, row);
      if (epsilon) {
        const Statistics made = statisticsOf(values, *epsilon, columns);
        mean[row] = made.mean, rstd[row] = made.rstd;
      }
      normaliseRow(values, weight, bias, {mean[row], rstd[row]}, rowOf<T>(y, row), columns);
    }
  });
}

/// With x^ = (x - mean) rstd and g = w dY: dX = rstd (g - mean(g) - x^ mean(g x^)), dWeight += dY x^, dBias += dY. Rows
/// of dX may be those of dY.
template <typename T>
void backwardRow(const T* dY, const T* x, const float* weight, Statistics statistics, T* dX, bool accumulate,
                 float* dWeight, float* dBias, int64_t count) {
  FloatVector sum = broadcast(0.0f), products = broadcast(0.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector gradient = load(dY + i, part), value = normalised(x + i, statistics, part);
    const FloatVector inner = hn::Mul(gradient, load(weight + i, part));
    sum = hn::Add(sum, inner);
    products = hn::MulAdd(inner, value, products);
    if (dWeight) store(hn::MulAdd(gradient, value, load(dWeight + i, part)), dWeight + i, part);
    if (dBias) store(hn::Add(gradient, load(dBias + i, part)), dBias + i, part);
  });
  const FloatVector mean = broadcast(hn::ReduceSum(FloatTag(), sum) / static_cast<float>(count));
  const FloatVector slope = broadcast(hn::ReduceSum(FloatTag(), products) / static_cast<float>(count));
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector inner = hn::Mul(load(dY + i, part), load(weight + i, part));
    const FloatVector value = normalised(x + i, statistics, part);
    FloatVector gradient = hn::Mul(broadcast(statistics.rstd), hn::NegMulAdd(value, slope, hn::Sub(inner, mean)));
    if (accumulate) gradient = hn::Add(gradient, load(dX + i, part));
    store(gradient, dX + i, part);
  });
}

void BackwardRows(const TensorDesc& dY, const TensorDesc& x, const float* weight, const float* mean, const float* rstd,
                  const TensorDesc& dX, bool accumulate, float* dWeight, float* dBias, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "layerNormBackward", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      backwardRow(rowOf<const T>(dY, row), rowOf<const T>(x, row), weight, {mean[row], rstd[row]}, rowOf<T>(dX, row),
                  accumulate, dWeight, dBias, columnsOf(x));
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(NormRows);
HWY_EXPORT(BackwardRows);

namespace {

float* floats(const TensorDesc& tensor) { return static_cast<float*>(tensor.data); }

void normalise(const TensorDesc& x, const TensorDesc& weight, const TensorDesc& bias, const float* epsilon,
               const TensorDesc& y, const TensorDesc& mean, const TensorDesc& rstd) {
  parallelRanges(x.shape[0], columnsOf(x), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(NormRows)
    (x, floats(weight), floats(bias), epsilon, y, floats(mean), floats(rstd), begin, end);
  });
}

}  // namespace

void layerNorm(TensorDesc x, TensorDesc weight, TensorDesc bias, float epsilon, TensorDesc y, TensorDesc mean,
               TensorDesc rstd) {
  normalise(x, weight, bias, &epsilon, y, mean, rstd);
}

void layerNormApply(TensorDesc x, TensorDesc weight, TensorDesc bias, TensorDesc mean, TensorDesc rstd, TensorDesc y) {
  normalise(x, weight, bias, nullptr, y, mean, rstd);
}

void layerNormBackward(TensorDesc dY, TensorDesc x, TensorDesc weight, TensorDesc mean, TensorDesc rstd, TensorDesc dX,
                       bool accumulate, TensorDesc dWeight, TensorDesc dBias) {
  const std::array targets{floats(dWeight), floats(dBias)};
  sumRowChunks(x.shape[0], columnsOf(x), targets, true, [&](int64_t begin, int64_t end, const auto& partials) {
    HWY_DYNAMIC_DISPATCH(BackwardRows)
    (dY, x, floats(weight), floats(mean), floats(rstd), dX, accumulate, partials[0], partials[1], begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
