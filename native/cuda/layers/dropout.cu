// Dropout whose mask is a pure function of the key, the row's name and the column (core/math/philox.h), with the same
// bits as on the CPU.
#include "core/math/philox.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// y [T, D] = mask x / (1 - p), rowKeys [T]; y may be x. Moves 2 T D elements; four columns share a draw, which the
/// unvectorised path (N = 1) repeats for each of them.
template <typename T, int N>
__global__ void dropoutKernel(Rows<const T> x, const int64_t* rowKeys, DropoutKey key, float factor, Rows<T> y,
                              int64_t rows, int64_t columns) {
  constexpr int kColumns = 4;  // of a draw
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N];
    load(x.at(row) + piece * N, values);
    const auto draw = [&](int64_t group) {
      return philox4x32(dropoutCounter(rowKeys[row], static_cast<uint32_t>(group)), key.key[0], key.key[1]);
    };
    // A product, not a selection: non-finite values stay non-finite even if dropped.
    const auto drop = [&](float value, uint32_t word) {
      return value * (philoxUniform(word) >= key.probability ? factor : 0.0f);
    };
    if constexpr (N == 1) {
      const PhiloxWords words = draw(piece / kColumns);
      const int64_t column = piece % kColumns;
      const uint32_t low = column % 2 ? words.word[1] : words.word[0];
      const uint32_t high = column % 2 ? words.word[3] : words.word[2];
      values[0] = drop(values[0], column < 2 ? low : high);
    } else {
#pragma unroll
      for (int i = 0; i < N; i += kColumns) {
        const PhiloxWords words = draw((piece * N + i) / kColumns);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) values[i + j] = drop(values[i + j], words.word[j]);
      }
    }
    store(values, y.at(row) + piece * N);
  });
}

}  // namespace

void dropout(Context& context, TensorDesc x, TensorDesc rowKeys, DropoutKey key, TensorDesc y) {
  const int64_t rows = x.shape[0], columns = columnsOf(x);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(x) + bytesOf(rowKeys), bytesOf(y));
  withRowVectors(x.dtype, "dropout", {x, y}, [&](auto type, auto width) {
    using T = decltype(type);
    launchPieces(dropoutKernel<T, width>, rows, columns / width, context.stream, rowsOf<const T>(x),
                 static_cast<const int64_t*>(rowKeys.data), key, 1.0f / (1.0f - key.probability), rowsOf<T>(y), rows,
                 columns);
  });
  checkLaunch("dropout");
}

}  // namespace mora::cuda
