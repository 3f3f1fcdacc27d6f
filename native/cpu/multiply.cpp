// Elementwise products.
#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

constexpr int64_t kPiece = 1024;

void multiplyRow(const TensorDesc& a, const float* b, float* target, int64_t row, float scale, bool accumulate) {
  const int64_t columns = columnsOf(a), size = traitsOf(a.dtype).blockBytes;
  const std::byte* const values = rowOf<const std::byte>(a, 0) + row * a.strides[0] * size;
  alignas(64) float piece[kPiece];
  for (int64_t from = 0; from < columns; from += kPiece) {
    const int64_t count = std::min(kPiece, columns - from);
    convertRow(a.dtype, values + from * size, DType::f32, piece, count, scale);
    if (accumulate)
      for (int64_t i = 0; i < count; ++i) target[from + i] += piece[i] * b[from + i];
    else
      for (int64_t i = 0; i < count; ++i) target[from + i] = piece[i] * b[from + i];
  }
}

}  // namespace

void multiply(TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate) {
  parallelRanges(a.shape[0], columnsOf(a), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      multiplyRow(a, rowOf<const float>(b, row), rowOf<float>(target, row), row, scale, accumulate);
  });
}

}  // namespace mora::cpu
