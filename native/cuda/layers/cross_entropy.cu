// Softmax cross-entropy of rows of logits and its gradient, optionally in place.
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/index_report.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr unsigned kThreads = 512;

/// Caps logits: softcap tanh(x / softcap).
struct Cap {
  float softcap, inverse;

  __device__ __forceinline__ float at(float x) const { return softcap * tanhf(x * inverse); }
  /// The derivative of the cap where its result is `value`.
  __device__ __forceinline__ float slope(float value) const {
    const float tanh = value * inverse;
    return fmaf(-tanh, tanh, 1.0f);
  }
};

/// losses [N] = logsumexp(logits [N, V]) - logit of the target; dLogits (if any) = softmax - onehot. Negative targets,
/// and targets past V after a report, give zeros. One block per row; the first pass finds maximum and sum together,
/// the second, which reads from the caches, writes the gradient. Moves N V elements in and N V out.
template <typename T, typename G, int N, bool kCapped>
__global__ void __launch_bounds__(kThreads)
    crossEntropyKernel(Rows<const T> logits, const int32_t* targets, Cap cap, float* losses, Rows<G> dLogits,
                       int64_t columns, DeviceReport* report) {
  MORA_SHARED(float, maxima, [kWarp]);
  MORA_SHARED(double, sums, [kThreads]);
  const int64_t row = blockIdx.x, first = static_cast<int64_t>(threadIdx.x) * N,
                step = static_cast<int64_t>(blockDim.x) * N;
  const int32_t target = targets[row];
  const T* const from = logits.at(row);
  G* const to = dLogits.data ? dLogits.at(row) : nullptr;
  float values[N];
  const auto loadLogits = [&](int64_t column) {
    load(from + column, values);
    if constexpr (kCapped) {
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] = cap.at(values[i]);
    }
  };
  if (target >= 0 && threadIdx.x == 0) indexFits(report, Operation::crossEntropy, row, target, columns);
  if (target < 0 || target >= columns) {
    if (threadIdx.x == 0) losses[row] = 0;
    if (!to) return;
    for (int i = 0; i < N; ++i) values[i] = 0;
    for (int64_t column = first; column < columns; column += step) store(values, to + column);
    return;
  }

  // The sum is in f64: in f32, small classes would be lost beside a nearly certain one. A thread whose logits are all
  // -inf so far keeps the sum 0, since exp(-inf - -inf) is NaN.
  float maximum = -INFINITY;
  double sum = 0;
  for (int64_t column = first; column < columns; column += step) {
    loadLogits(column);
    float largest = maximum;
#pragma unroll
    for (int i = 0; i < N; ++i) largest = fmaxf(largest, values[i]);
    if (largest > maximum) sum *= expf(maximum - largest);
    maximum = largest;
    const float shift = maximum == -INFINITY ? 0.0f : maximum;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += expf(values[i] - shift);
  }
  const float overall = blockMax(maximum, maxima);
  if (maximum != overall) sum *= expf(maximum - overall);
  const double total = blockSumWide(sum, sums);
  // Reads the target's logit before the barrier, because the gradient may overwrite it.
  const float plain = toFloat(from[target]), chosen = kCapped ? cap.at(plain) : plain;
  const double loss = log(total) - (static_cast<double>(chosen) - overall);
  __syncthreads();
  if (threadIdx.x == 0) losses[row] = static_cast<float>(loss);
  if (!to) return;
  const float factor = static_cast<float>(1.0 / total);
  // softmax - 1 = exp(-loss) - 1, without the cancellation of subtracting 1 from a probability near 1.
  const float ofTarget = static_cast<float>(expm1(-loss));
  for (int64_t column = first; column < columns; column += step) {
    loadLogits(column);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float slope = kCapped ? cap.slope(values[i]) : 1.0f;
      values[i] = slope * (column + i == target ? ofTarget : expf(values[i] - overall) * factor);
    }
    store(values, to + column);
  }
}

/// x = softcap tanh(x / softcap), in place. Moves 2 N V elements.
template <typename T, int N>
__global__ void capLogitsKernel(Rows<T> logits, Cap cap, int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N];
    load(logits.at(row) + piece * N, values);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = cap.at(values[i]);
    store(values, logits.at(row) + piece * N);
  });
}

}  // namespace

void crossEntropy(Context& context, TensorDesc logits, TensorDesc targets, float softcap, TensorDesc losses,
                  TensorDesc dLogits) {
  const int64_t rows = logits.shape[0], columns = columnsOf(logits);
  if (rows == 0) return;
  const DType gradientType = present(dLogits) ? dLogits.dtype : logits.dtype;
  expectCost(bytesOf(logits) + bytesOf(targets), bytesOf(losses) + bytesOf(dLogits));
  withFloatType(logits.dtype, "crossEntropy", [&](auto type) {
    withFloatType(gradientType, "crossEntropy", [&](auto gradient) {
      using T = decltype(type);
      using G = decltype(gradient);
      constexpr int kWide = kVectorWidth<T, G>;
      withWidth<kWide>(allRowsFit(kWide, logits, dLogits), [&](auto width) {
        const auto start = [&](auto kernel) {
          launchRows(kernel, rows, threadsFor(columns / width, kThreads), context.stream, rowsOf<const T>(logits),
                     static_cast<const int32_t*>(targets.data), Cap{softcap, 1.0f / softcap},
                     static_cast<float*>(losses.data), rowsOf<G>(dLogits), columns, context.report);
        };
        if (softcap > 0)
          start(crossEntropyKernel<T, G, width, true>);
        else
          start(crossEntropyKernel<T, G, width, false>);
      });
    });
  });
  checkLaunch("crossEntropy");
}

void capLogits(Context& context, TensorDesc logits, float softcap) {
  const int64_t rows = logits.shape[0], columns = columnsOf(logits);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(logits), bytesOf(logits));
  withRowVectors(logits.dtype, "capLogits", {logits}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(capLogitsKernel<T, width>, rows, columns / width, context.stream, rowsOf<T>(logits),
                 Cap{softcap, 1.0f / softcap}, rows, columns);
  });
  checkLaunch("capLogits");
}

void crossEntropyPart(Context&, TensorDesc, TensorDesc, LogitsPart, TensorDesc, TensorDesc, TensorDesc, TensorDesc,
                      TensorDesc) {
  unsupported("crossEntropyPart");
}

void crossEntropyOfParts(Context&, TensorDesc, TensorDesc, float, float, TensorDesc, TensorDesc, TensorDesc) {
  unsupported("crossEntropyOfParts");
}

}  // namespace mora::cuda
