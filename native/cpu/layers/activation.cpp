// Activation functions and their gradients, alone or as the gate of a product: y = f(gate) * up (SwiGLU and GeGLU,
// arXiv 2002.05202).
#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/prefetch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/activation.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// f(x) and f'(x).
struct ValueAndSlope {
  FloatVector value, slope;
};

template <Activation f, typename T>
struct Function;

/// @tparam T the stored type of results
template <typename T>
HWY_INLINE FloatVector sigmoidFor(FloatVector x) {
  if constexpr (std::is_same_v<T, float>) return sigmoid(x);
  return quickSigmoid(x);
}

template <typename T>
struct Function<Activation::silu, T> {
  static HWY_INLINE FloatVector value(FloatVector x) { return hn::Mul(x, sigmoidFor<T>(x)); }
  /// With s = sigmoid(x): s (1 + x (1 - s)).
  static HWY_INLINE ValueAndSlope differentiate(FloatVector x) {
    const FloatVector one = broadcast(1.0f), s = sigmoidFor<T>(x);
    return {hn::Mul(x, s), hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one))};
  }
};

/// Phi(x) and exp(-x^2 / 2).
struct Normal {
  FloatVector distribution, exponential;

  /// Phi(-|x|) exp(x^2 / 2) = t p(t) with t = 1 / (1 + 0.4 |x| / sqrt(2)): p is the polynomial of degree 8 with the
  /// least relative error (1.3e-7), so the tail stays precise.
  explicit HWY_INLINE Normal(FloatVector x) {
    constexpr float kCoefficients[] = {0x1.ce2f26p-4f,  0x1.ce2bdep-4f, 0x1.a9a95ep-4f,  0x1.592d24p-4f, 0x1.21a40ap-4f,
                                       -0x1.6ea7cep-9f, 0x1.5a408ep-4f, -0x1.768ef8p-4f, 0x1.9bb8aap-6f};
    const FloatVector one = broadcast(1.0f);
    const FloatVector t = hn::Div(one, hn::MulAdd(hn::Abs(x), broadcast(0.28284271f), one));
    FloatVector sum = broadcast(kCoefficients[8]);
    for (int i = 7; i >= 0; --i) sum = hn::MulAdd(sum, t, broadcast(kCoefficients[i]));
    exponential = expFloat(hn::Mul(hn::Mul(x, x), broadcast(-0.5f)));
    const FloatVector tail = hn::Mul(hn::Mul(sum, t), exponential);
    distribution = hn::IfThenElse(hn::Gt(x, hn::Zero(FloatTag())), hn::Sub(one, tail), tail);
  }
};

template <typename T>
struct Function<Activation::gelu, T> {
  static HWY_INLINE FloatVector value(FloatVector x) { return hn::Mul(x, Normal(x).distribution); }
  /// Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi).
  static HWY_INLINE ValueAndSlope differentiate(FloatVector x) {
    const Normal normal(x);
    const FloatVector density = hn::Mul(normal.exponential, broadcast(0.3989422804f));
    return {hn::Mul(x, normal.distribution), hn::MulAdd(x, density, normal.distribution)};
  }
};

/// With (1 + tanh(u)) / 2 = sigmoid(2 u).
template <typename T>
struct Function<Activation::geluTanh, T> {
  static HWY_INLINE FloatVector value(FloatVector x) { return hn::Mul(x, sigmoidFor<T>(inner(limited(x)))); }
  /// With s = sigmoid(2 u): s + x s (1 - s) 2 u'.
  static HWY_INLINE ValueAndSlope differentiate(FloatVector x) {
    const FloatVector near = limited(x), s = sigmoidFor<T>(inner(near));
    const FloatVector innerSlope = hn::MulAdd(hn::Mul(near, near), broadcast(3 * kCubic * kLinear), broadcast(kLinear));
    const FloatVector bend = hn::Mul(hn::Mul(s, hn::Sub(broadcast(1.0f), s)), innerSlope);
    return {hn::Mul(x, s), hn::MulAdd(near, bend, s)};
  }

 private:
  static constexpr float kLinear = 1.5957691216f;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  /// Clamps x to a range beyond which the sigmoid is 0 or 1 and the cube might overflow. Comparisons keep NaN.
  static HWY_INLINE FloatVector limited(FloatVector x) {
    x = hn::IfThenElse(hn::Gt(x, broadcast(16.0f)), broadcast(16.0f), x);
    return hn::IfThenElse(hn::Lt(x, broadcast(-16.0f)), broadcast(-16.0f), x);
  }
  /// 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3)
  static HWY_INLINE FloatVector inner(FloatVector x) {
    const FloatVector square = hn::Mul(x, x);
    return hn::Mul(x, hn::MulAdd(square, broadcast(kCubic * kLinear), broadcast(kLinear)));
  }
};

template <typename T>
struct Function<Activation::relu, T> {
  static HWY_INLINE FloatVector value(FloatVector x) { return hn::IfThenZeroElse(hn::Le(x, hn::Zero(FloatTag())), x); }
  static HWY_INLINE ValueAndSlope differentiate(FloatVector x) {
    return {value(x), hn::IfThenZeroElse(hn::Le(x, hn::Zero(FloatTag())), broadcast(1.0f))};
  }
};

template <Activation f, bool kGated, typename T>
void forwardRow(Row<const T> gate, Row<const T> up, Row<T> y, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector value = Function<f, T>::value(load(gate.at(i), part));
    if constexpr (kGated) value = hn::Mul(value, load(up.at(i), part));
    store(value, y.at(i), part);
  });
}

/// Outputs may be the inputs' own memory.
template <Activation f, bool kGated, typename T>
void backwardRow(Row<const T> dY, Row<const T> gate, Row<const T> up, Row<T> dGate, Row<T> dUp, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const auto [value, slope] = Function<f, T>::differentiate(load(gate.at(i), part));
    const FloatVector gradient = load(dY.at(i), part);
    if constexpr (kGated) {
      const FloatVector u = load(up.at(i), part);
      store(hn::Mul(hn::Mul(gradient, u), slope), dGate.at(i), part);
      store(hn::Mul(gradient, value), dUp.at(i), part);
    } else {
      store(hn::Mul(gradient, slope), dGate.at(i), part);
    }
  });
}

/// Calls body(type, f, gated) with the dtype's C++ type and constants.
template <typename Body>
void withKernel(DType type, Activation f, bool gated, Body&& body) {
  withFloatType(type, "activation", [&](auto element) HWY_ATTR {
    withActivation(f, [&](auto function) HWY_ATTR {
      if (gated)
        body(element, function, std::true_type());
      else
        body(element, function, std::false_type());
    });
  });
}

void ForwardRows(Activation f, const TensorDesc& gate, const TensorDesc& up, const TensorDesc& y, int64_t begin,
                 int64_t end) {
  withKernel(gate.dtype, f, present(up), [&](auto type, auto function, auto gated) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      forwardRow<decltype(function)::value, decltype(gated)::value, T>({gate, row}, {up, row}, {y, row},
                                                                       columnsOf(gate));
  });
}

void BackwardRows(Activation f, const TensorDesc& dY, const TensorDesc& gate, const TensorDesc& up,
                  const TensorDesc& dGate, const TensorDesc& dUp, int64_t begin, int64_t end) {
  withKernel(gate.dtype, f, present(up), [&](auto type, auto function, auto gated) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      backwardRow<decltype(function)::value, decltype(gated)::value, T>(
          {dY, row}, {gate, row}, {up, row}, {dGate, row}, {dUp, row}, columnsOf(gate));
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(ForwardRows);
HWY_EXPORT(BackwardRows);

void activation(Activation f, TensorDesc gate, TensorDesc up, TensorDesc y) {
  parallelRanges(gate.shape[0], columnsOf(gate), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ForwardRows)(f, gate, up, y, begin, end);
  });
}

void activationBackward(Activation f, TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate, TensorDesc dUp) {
  parallelRanges(gate.shape[0], columnsOf(gate), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(BackwardRows)(f, dY, gate, up, dGate, dUp, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
