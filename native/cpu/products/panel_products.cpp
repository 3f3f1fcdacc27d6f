#include "cpu/products/panel_products.h"

#include <algorithm>

#include "core/math/panels.h"
#include "cpu/few_rows/few_rows.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/products/matmul.h"
#include "cpu/scratch.h"
#include "cpu/stored/codes.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

constexpr int64_t kPanelBytes = 2 << 20, kLeast = 64;

/// c = alpha a b (+ c) for b [rows, columns], by panels of whole rows, whose sums are added in f32.
template <typename Unpack>
void multiplyRowPanels(const TensorDesc& a, int64_t rows, int64_t columns, const TensorDesc& c, float alpha,
                       bool accumulate, Unpack&& unpack) {
  const int64_t bytes = traitsOf(a.dtype).blockBytes, fitting = kPanelBytes / (columns * bytes);
  const int64_t most = std::min(rows, std::max(kLeast, fitting / kLeast * kLeast));
  const bool direct = c.dtype == DType::f32;
  Scratch scratch;
  TensorDesc sums = c;
  if (!direct) sums = {scratch.take<float>(elementsOf(c)), DType::f32, 2, {c.shape[0], columns}, {columns, 1}};
  void* const memory = scratch.bytes(static_cast<size_t>(most * columns * bytes));
  for (int64_t at = 0; at < rows; at += most) {
    const TensorDesc panel{memory, a.dtype, 2, {std::min(most, rows - at), columns}, {columns, 1}};
    unpack(at, 0, panel);
    TensorDesc part = a;
    part.data = static_cast<std::byte*>(a.data) + at * a.strides[1] * bytes;
    part.shape[1] = panel.shape[0];
    matmul(part, false, panel, false, sums, alpha, at > 0 || (direct && accumulate));
  }
  if (direct) return;
  if (accumulate)
    add(sums, c, 1);
  else
    copy(sums, c, 1);
}

/// c = alpha a op(b) (+ c) for b [rows, columns]. Columns of a panel start at multiples of `multiple`.
template <typename Unpack>
void multiplyUnpacked(const TensorDesc& a, int64_t rows, int64_t columns, int64_t multiple, bool transposeB,
                      const TensorDesc& c, float alpha, bool accumulate, Unpack&& unpack) {
  // With few columns, a row has less than a cache line's worth, and every panel reads all of a again.
  constexpr int64_t kFewColumns = 256, kSumBytes = 32 << 20;
  const int64_t fitting = kPanelBytes / std::max<int64_t>(1, rows * traitsOf(a.dtype).blockBytes);
  if (!transposeB && fitting < std::min(kFewColumns, columns) &&
      elementsOf(c) * static_cast<int64_t>(sizeof(float)) <= kSumBytes)
    return multiplyRowPanels(a, rows, columns, c, alpha, accumulate, unpack);
  Scratch scratch;
  multiplyPanels(
      a, rows, columns, transposeB, c, {kPanelBytes, std::max(kLeast, transposeB ? 16 : multiple)},
      [&](size_t bytes) { return scratch.bytes(bytes); }, unpack,
      [&](const TensorDesc& panel, const TensorDesc& target) {
        matmul(a, false, panel, transposeB, target, alpha, accumulate);
      });
}

}  // namespace

void multiplyQuantised(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, float alpha,
                       bool accumulate) {
  const DTypeTraits blocks = traitsOf(b.dtype);
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) {
    TensorDesc source = b;
    const int64_t offset = row * b.strides[0] + column;
    source.data = static_cast<std::byte*>(b.data) + offset / blocks.blockSize * blocks.blockBytes;
    source.shape[0] = panel.shape[0], source.shape[1] = panel.shape[1];
    dequantise(source, panel);
  };
  multiplyUnpacked(a, b.shape[0], b.shape[1], blocks.blockSize, transposeB, c, alpha, accumulate, unpack);
}

void matmulCodes(TensorDesc a, CodedMatrix b, bool transposeB, TensorDesc c, float alpha, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (present(b.groups)) requireIndices("matmulCodes", b.groups, b.layout.groupsOfRow());
  if (transposeB && c.shape[0] <= mostStoredRows()) return multiplyFewRows(a, b, c, alpha, accumulate);
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) { unpackPanel(b, row, column, panel); };
  multiplyUnpacked(a, b.codes.shape[0], b.layout.columns, 2, transposeB, c, alpha, accumulate, unpack);
}

}  // namespace mora::cpu
