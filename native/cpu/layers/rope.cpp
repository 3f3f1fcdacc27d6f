// Rotary position embedding (arXiv 2104.09864), half-split, of the first elements of every head.
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/rope.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Rotates pairs (x[j], x[j + half]); sign -1 rotates back.
template <typename T>
void rotateHead(T* x, const float* cosines, const float* sines, float sign, int64_t half) {
  const FloatVector direction = broadcast(sign);
  forVectors(half, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector first = load(x + i, part), second = load(x + half + i, part);
    const FloatVector cosine = load(cosines + i, part), sine = hn::Mul(direction, load(sines + i, part));
    store(hn::NegMulAdd(second, sine, hn::Mul(first, cosine)), x + i, part);
    store(hn::MulAdd(first, sine, hn::Mul(second, cosine)), x + half + i, part);
  });
}

void RotateTokens(const TensorDesc& x, const int32_t* positions, const float* cosines, const float* sines, int64_t half,
                  float sign, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "rope", [&](auto type) HWY_ATTR {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t angles = positions[t] * half;
      for (int64_t head = 0; head < x.shape[1]; ++head)
        rotateHead(rowOf<decltype(type)>(x, t) + head * x.strides[1], cosines + angles, sines + angles, sign, half);
    }
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(RotateTokens);

void rope(TensorDesc x, TensorDesc positions, TensorDesc cosines, TensorDesc sines, bool inverse) {
  requireIndices("rope", positions, cosines.shape[0]);
  parallelRanges(x.shape[0], x.shape[1] * x.shape[2], [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(RotateTokens)
    (x, static_cast<const int32_t*>(positions.data), static_cast<const float*>(cosines.data),
     static_cast<const float*>(sines.data), cosines.shape[1], inverse ? -1.0f : 1.0f, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
