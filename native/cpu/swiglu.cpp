// SwiGLU (arXiv 2002.05202): y = silu(gate) * up with silu(g) = g sigmoid(g).
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/swiglu.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <typename T>
void forwardRow(const T* gate, const T* up, T* y, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector g = load(gate + i, part);
    store(hn::Mul(hn::Mul(g, sigmoid(g)), load(up + i, part)), y + i, part);
  });
}

/// dUp = dY silu(g), dGate = dY up s (1 + g (1 - s)) with s = sigmoid(g). Outputs may be the inputs' own memory.
template <typename T>
void backwardRow(const T* dY, const T* gate, const T* up, T* dGate, T* dUp, int64_t count) {
  const FloatVector one = broadcast(1.0f);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector g = load(gate + i, part), u = load(up + i, part), gradient = load(dY + i, part);
    const FloatVector s = sigmoid(g);
    const FloatVector slope = hn::Mul(s, hn::MulAdd(g, hn::Sub(one, s), one));
    store(hn::Mul(hn::Mul(gradient, u), slope), dGate + i, part);
    store(hn::Mul(gradient, hn::Mul(g, s)), dUp + i, part);
  });
}

void ForwardRows(const TensorDesc& gate, const TensorDesc& up, const TensorDesc& y, int64_t begin, int64_t end) {
  withFloatType(gate.dtype, "swiglu", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      forwardRow(rowOf<const T>(gate, row), rowOf<const T>(up, row), rowOf<T>(y, row), columnsOf(gate));
  });
}

void BackwardRows(const TensorDesc& dY, const TensorDesc& gate, const TensorDesc& up, const TensorDesc& dGate,
                  const TensorDesc& dUp, int64_t begin, int64_t end) {
  withFloatType(gate.dtype, "swigluBackward", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      backwardRow(rowOf<const T>(dY, row), rowOf<const T>(gate, row), rowOf<const T>(up, row), rowOf<T>(dGate, row),
                  rowOf<T>(dUp, row), columnsOf(gate));
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(ForwardRows);
HWY_EXPORT(BackwardRows);

void swiglu(TensorDesc gate, TensorDesc up, TensorDesc y) {
  parallelRanges(gate.shape[0], columnsOf(gate), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ForwardRows)(gate, up, y, begin, end);
  });
}

void swigluBackward(TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate, TensorDesc dUp) {
  parallelRanges(gate.shape[0], columnsOf(gate), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(BackwardRows)(dY, gate, up, dGate, dUp, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
