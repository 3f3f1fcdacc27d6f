// Activation functions and their gradients, alone or as the gate of a product: y = f(gate) * up (SwiGLU and GeGLU,
// arXiv 2002.05202).
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// f(x) and f'(x).
struct ValueAndSlope {
  float value, slope;
};

template <Activation f>
struct Function;

template <>
struct Function<Activation::silu> {
  static __device__ __forceinline__ float value(float x) { return x * sigmoid(x); }
  /// With s = sigmoid(x): s (1 + x (1 - s)).
  static __device__ __forceinline__ ValueAndSlope differentiate(float x) {
    const float s = sigmoid(x);
    return {x * s, s * fmaf(x, 1.0f - s, 1.0f)};
  }
};

template <>
struct Function<Activation::gelu> {
  static __device__ __forceinline__ float value(float x) { return x * distribution(x); }
  /// Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi).
  static __device__ __forceinline__ ValueAndSlope differentiate(float x) {
    const float phi = distribution(x);
    return {x * phi, fmaf(x, 0.3989422804f * expf(-0.5f * x * x), phi)};
  }

 private:
  static __device__ __forceinline__ float distribution(float x) { return 0.5f * erfcf(-0.7071067812f * x); }
};

/// With (1 + tanh(u)) / 2 = sigmoid(2 u).
template <>
struct Function<Activation::geluTanh> {
  static __device__ __forceinline__ float value(float x) { return x * sigmoid(inner(limited(x))); }
  /// With s = sigmoid(2 u): s + x s (1 - s) 2 u'.
  static __device__ __forceinline__ ValueAndSlope differentiate(float x) {
    const float near = limited(x), s = sigmoid(inner(near));
    const float innerSlope = fmaf(near * near, 3 * kCubic * kLinear, kLinear);
    return {x * s, fmaf(near, s * (1.0f - s) * innerSlope, s)};
  }

 private:
  static constexpr float kLinear = 1.5957691216f;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  /// Clamps x to a range beyond which the sigmoid is 0 or 1 and the cube might overflow.
  static __device__ __forceinline__ float limited(float x) { return x > 16.0f ? 16.0f : x < -16.0f ? -16.0f : x; }
  /// 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3)
  static __device__ __forceinline__ float inner(float x) { return x * fmaf(x * x, kCubic * kLinear, kLinear); }
};

template <>
struct Function<Activation::relu> {
  static __device__ __forceinline__ float value(float x) { return x <= 0 ? 0.0f : x; }
  static __device__ __forceinline__ ValueAndSlope differentiate(float x) { return {value(x), x <= 0 ? 0.0f : 1.0f}; }
};

/// All [T, F]. Reads gate and up, writes y: 3 T F elements, 2 T F without up. y may be the memory of an input.
template <typename T, int N, Activation f, bool kGated>
__global__ void activationKernel(Rows<const T> gate, Rows<const T> up, Rows<T> y, int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float g[N], u[N];
    load(gate.at(row) + piece * N, g);
    if constexpr (kGated) load(up.at(row) + piece * N, u);
#pragma unroll
    for (int i = 0; i < N; ++i) u[i] = kGated ? u[i] * Function<f>::value(g[i]) : Function<f>::value(g[i]);
    store(u, y.at(row) + piece * N);
  });
}

/// dUp = dY f(gate), dGate = dY up f'(gate), all [T, F]: 5 T F elements, 3 T F without up. Outputs may be the inputs'
/// own memory.
template <typename T, int N, Activation f, bool kGated>
__global__ void activationBackwardKernel(Rows<const T> dY, Rows<const T> gate, Rows<const T> up, Rows<T> dGate,
                                         Rows<T> dUp, int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float gradient[N], g[N], u[N];
    load(dY.at(row) + piece * N, gradient);
    load(gate.at(row) + piece * N, g);
    if constexpr (kGated) load(up.at(row) + piece * N, u);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const auto [value, slope] = Function<f>::differentiate(g[i]);
      u[i] = kGated ? u[i] * gradient[i] * slope : gradient[i] * slope;
      gradient[i] *= value;
    }
    store(u, dGate.at(row) + piece * N);
    if constexpr (kGated) store(gradient, dUp.at(row) + piece * N);
  });
}

/// Calls body(type, width, f, gated) with a kernel's parameters as constants.
template <typename Body, typename... Tensors>
void withKernel(Activation f, const TensorDesc& up, const TensorDesc& gate, Body&& body, const Tensors&... others) {
  withRowVectors(gate.dtype, "activation", {gate, up, others...}, [&](auto type, auto width) {
    withActivation(f, [&](auto function) {
      if (present(up))
        body(type, width, function, std::true_type());
      else
        body(type, width, function, std::false_type());
    });
  });
}

}  // namespace

void activation(Context& context, Activation f, TensorDesc gate, TensorDesc up, TensorDesc y) {
  const int64_t rows = y.shape[0], columns = columnsOf(y);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(gate) + bytesOf(up), bytesOf(y));
  const auto start = [&](auto type, auto width, auto function, auto gated) {
    using T = decltype(type);
    launchPieces(activationKernel<T, width, function, gated>, rows, columns / width, context.stream,
                 rowsOf<const T>(gate), rowsOf<const T>(up), rowsOf<T>(y), rows, columns);
  };
  withKernel(f, up, gate, start, y);
  checkLaunch("activation");
}

void activationBackward(Context& context, Activation f, TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate,
                        TensorDesc dUp) {
  const int64_t rows = dY.shape[0], columns = columnsOf(dY);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(dY) + bytesOf(gate) + bytesOf(up), bytesOf(dGate) + bytesOf(dUp));
  const auto start = [&](auto type, auto width, auto function, auto gated) {
    using T = decltype(type);
    launchPieces(activationBackwardKernel<T, width, function, gated>, rows, columns / width, context.stream,
                 rowsOf<const T>(dY), rowsOf<const T>(gate), rowsOf<const T>(up), rowsOf<T>(dGate), rowsOf<T>(dUp),
                 rows, columns);
  };
  withKernel(f, up, gate, start, dY, dGate, dUp);
  checkLaunch("activationBackward");
}

}  // namespace mora::cuda
