// The gates of a gated delta net (arXiv 2412.06464): how far a token's state decays, and how much it learns. A thread
// has one token's head.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/layers/column_sums.h"

namespace mora::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

/// The operand of softplus, and what multiplies it.
template <typename T>
struct Steps {
  Rows<const T> a;
  const float *logRate, *bias;

  __device__ __forceinline__ float at(int64_t row, int64_t head) const { return toFloat(a.at(row)[head]) + bias[head]; }
  __device__ __forceinline__ float rate(int64_t head) const { return -expf(logRate[head]); }
};

/// g and beta [T, H]. Reads a and b once, writes 8 bytes for each of their elements.
template <typename T>
__global__ void gates(Steps<T> steps, Rows<const T> b, Rows<float> g, Rows<float> beta, int64_t rows, int64_t heads) {
  forPieces(rows, heads, [&](int64_t row, int64_t head) {
    g.at(row)[head] = steps.rate(head) * softplus(steps.at(row, head));
    beta.at(row)[head] = sigmoid(toFloat(b.at(row)[head]));
  });
}

/// The gradient of a row's step, in f32.
template <typename T>
struct StepGradient {
  static constexpr uint64_t kBytes = sizeof(T) + sizeof(float);
  Steps<T> steps;
  Rows<const float> dG;

  __device__ void operator()(int64_t row, int64_t head, float (&values)[1]) const {
    values[0] = dG.at(row)[head] * steps.rate(head) * sigmoid(steps.at(row, head));
  }
};

/// A row's parts of the gradients of the rates' logarithms and of the biases, [2 H].
template <typename T>
struct ParameterGradient {
  static constexpr uint64_t kBytes = (StepGradient<T>::kBytes + 2 * sizeof(float)) / 2;
  StepGradient<T> ofStep;
  Rows<const float> g;
  int64_t heads;

  __device__ void operator()(int64_t row, int64_t at, float (&values)[1]) const {
    if (at < heads)
      values[0] = ofStep.dG.at(row)[at] * g.at(row)[at];
    else
      ofStep(row, at - heads, values);
  }
};

/// The places of their sums, of which either may be absent.
struct ParameterSums {
  float *dLogRate, *dBias;
  int64_t heads;

  __device__ __forceinline__ float* at(int64_t column) const {
    float* const sums = column < heads ? dLogRate : dBias;
    return sums ? sums + column % heads : nullptr;
  }
};

template <typename T>
__global__ void gatesGradient(StepGradient<T> gradient, Rows<const float> dBeta, Rows<const float> beta, Rows<T> dA,
                              Rows<T> dB, int64_t rows, int64_t heads) {
  forPieces(rows, heads, [&](int64_t row, int64_t head) {
    float dStep[1];
    gradient(row, head, dStep);
    dA.at(row)[head] = fromFloat<T>(dStep[0]);
    const float learned = beta.at(row)[head];
    dB.at(row)[head] = fromFloat<T>(dBeta.at(row)[head] * learned * (1.0f - learned));
  });
}

template <typename T>
Steps<T> stepsOf(const TensorDesc& a, const TensorDesc& logRate, const TensorDesc& bias) {
  return {rowsOf<const T>(a), static_cast<const float*>(logRate.data), static_cast<const float*>(bias.data)};
}

}  // namespace

void deltaGates(Context& context, TensorDesc a, TensorDesc b, TensorDesc logRate, TensorDesc bias, TensorDesc g,
                TensorDesc beta) {
  if (elementsOf(a) == 0) return;
  expectCost(bytesOf(a) + bytesOf(b) + bytesOf(logRate) + bytesOf(bias), bytesOf(g) + bytesOf(beta));
  withFloatType(a.dtype, "deltaGates", [&](auto type) {
    using T = decltype(type);
    launchPieces(gates<T>, a.shape[0], a.shape[1], context.stream, stepsOf<T>(a, logRate, bias), rowsOf<const T>(b),
                 rowsOf<float>(g), rowsOf<float>(beta), a.shape[0], a.shape[1]);
  });
  checkLaunch("deltaGates");
}

void deltaGatesBackward(Context& context, TensorDesc dG, TensorDesc dBeta, TensorDesc a, TensorDesc logRate,
                        TensorDesc bias, TensorDesc g, TensorDesc beta, TensorDesc dA, TensorDesc dB,
                        TensorDesc dLogRate, TensorDesc dBias) {
  if (elementsOf(a) == 0) return;
  const int64_t rows = a.shape[0], heads = a.shape[1];
  expectCost(bytesOf(dG) + bytesOf(dBeta) + bytesOf(a) + bytesOf(beta) + bytesOf(logRate) + bytesOf(bias),
             bytesOf(dA) + bytesOf(dB));
  withFloatType(a.dtype, "deltaGatesBackward", [&](auto type) {
    using T = decltype(type);
    const StepGradient<T> gradient{stepsOf<T>(a, logRate, bias), rowsOf<const float>(dG)};
    launchPieces(gatesGradient<T>, rows, heads, context.stream, gradient, rowsOf<const float>(dBeta),
                 rowsOf<const float>(beta), rowsOf<T>(dA), rowsOf<T>(dB), rows, heads);
    if (!present(dLogRate) && !present(dBias)) return;
    const ParameterSums sums{static_cast<float*>(dLogRate.data), static_cast<float*>(dBias.data), heads};
    sumColumns<1>(context, ParameterGradient<T>{gradient, rowsOf<const float>(g), heads}, rows, 2 * heads, sums, true);
  });
  checkLaunch("deltaGatesBackward");
}

}  // namespace mora::cuda
