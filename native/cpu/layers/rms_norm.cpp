// RMSNorm (arXiv 1910.07467) over rows or heads, with an optional residual added first, and its gradient.
#include <cmath>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/row_chunks.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/rms_norm.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <typename T>
float sumOfSquares(const T* x, int64_t count) {
  FloatVector sum = broadcast(0.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector v = load(x + i, part);
    sum = hn::MulAdd(v, v, sum);
  });
  return hn::ReduceSum(FloatTag(), sum);
}

/// The factors of columns: values[i] + offset.
struct NormWeight {
  const float* values;
  float offset;

  template <class Part>
  HWY_INLINE FloatVector at(int64_t i, Part part) const {
    return hn::Add(load(values + i, part), broadcast(offset));
  }
};

template <typename T>
void normaliseRow(const T* x, NormWeight weight, float rstd, T* y, int64_t count) {
  const FloatVector factor = broadcast(rstd);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    store(hn::Mul(hn::Mul(load(x + i, part), factor), weight.at(i, part)), y + i, part);
  });
}

template <typename T>
void addRow(T* x, const T* residual, int64_t count) {
  forVectors(count, [&](int64_t i, auto part)
                        HWY_ATTR { store(hn::Add(load(x + i, part), load(residual + i, part)), x + i, part); });
}

void NormRows(const TensorDesc& x, const TensorDesc& residual, const float* weight, float offset, float epsilon,
              const TensorDesc& y, float* rstd, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "rmsNorm", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t columns = columnsOf(x);
    for (int64_t row = begin; row < end; ++row) {
      T* const values = headRowOf<T>(x, row);
      // The statistic is computed from the stored, rounded sum, since the backward pass reads the same x.
      if (present(residual)) addRow(values, headRowOf<const T>(residual, row), columns);
      const double mean = static_cast<double>(sumOfSquares(values, columns)) / static_cast<double>(columns);
      const float factor = static_cast<float>(1.0 / std::sqrt(mean + epsilon));
      if (rstd) rstd[row] = factor;
      if (present(y)) normaliseRow(values, {weight, offset}, factor, headRowOf<T>(y, row), columns);
    }
  });
}

void ApplyRows(const TensorDesc& x, const float* weight, float offset, const float* rstd, const TensorDesc& y,
               int64_t begin, int64_t end) {
  withFloatType(x.dtype, "rmsNormApply", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      normaliseRow(headRowOf<const T>(x, row), {weight, offset}, rstd[row], headRowOf<T>(y, row), columnsOf(x));
  });
}

/// With x^ = x rstd: dX = rstd (w dY - x^ mean(w dY x^)), dWeight += dY x^. Rows of dX may be those of dY.
template <typename T>
void backwardRow(const T* dY, const T* x, NormWeight weight, float rstd, T* dX, bool accumulate, float* dWeight,
                 int64_t count) {
  const FloatVector factor = broadcast(rstd);
  FloatVector sum = broadcast(0.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector product = hn::Mul(load(dY + i, part), hn::Mul(load(x + i, part), factor));
    sum = hn::MulAdd(product, weight.at(i, part), sum);
    if (dWeight) store(hn::Add(load(dWeight + i, part), product), dWeight + i, part);
  });
  const FloatVector mean = broadcast(hn::ReduceSum(FloatTag(), sum) / static_cast<float>(count));
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector normalised = hn::Mul(load(x + i, part), factor);
    const FloatVector inner = hn::Mul(load(dY + i, part), weight.at(i, part));
    FloatVector gradient = hn::Mul(factor, hn::NegMulAdd(normalised, mean, inner));
    if (accumulate) gradient = hn::Add(gradient, load(dX + i, part));
    store(gradient, dX + i, part);
  });
}

void BackwardRows(const TensorDesc& dY, const TensorDesc& x, const float* weight, float offset, const float* rstd,
                  const TensorDesc& dX, bool accumulate, float* dWeight, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "rmsNormBackward", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      backwardRow(headRowOf<const T>(dY, row), headRowOf<const T>(x, row), {weight, offset}, rstd[row],
                  headRowOf<T>(dX, row), accumulate, dWeight, columnsOf(x));
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(NormRows);
HWY_EXPORT(ApplyRows);
HWY_EXPORT(BackwardRows);

void rmsNorm(TensorDesc x, TensorDesc residual, TensorDesc weight, float weightOffset, float epsilon, TensorDesc y,
             TensorDesc rstd) {
  parallelRanges(rowsIn(x), columnsOf(x), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(NormRows)
    (x, residual, static_cast<const float*>(weight.data), weightOffset, epsilon, y, static_cast<float*>(rstd.data),
     begin, end);
  });
}

void rmsNormApply(TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd, TensorDesc y) {
  parallelRanges(rowsIn(x), columnsOf(x), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ApplyRows)
    (x, static_cast<const float*>(weight.data), weightOffset, static_cast<const float*>(rstd.data), y, begin, end);
  });
}

void rmsNormBackward(TensorDesc dY, TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd, TensorDesc dX,
                     bool accumulate, TensorDesc dWeight) {
  const std::array targets{static_cast<float*>(dWeight.data)};
  sumRowChunks(rowsIn(x), columnsOf(x), targets, true, [&](int64_t begin, int64_t end, const auto& partials) {
    HWY_DYNAMIC_DISPATCH(BackwardRows)
    (dY, x, static_cast<const float*>(weight.data), weightOffset, static_cast<const float*>(rstd.data), dX, accumulate,
     partials[0], begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
