#include "cpu/panel_products.h"

#include <algorithm>

#include "cpu/codes.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

/// c = alpha a op(b) (+ c) for b [rows, columns], of which `unpack(row, column, panel)` makes panels of a's type: some
/// rows of b where it is transposed, else some columns, so that no sum is cut. Columns of a panel start at multiples of
/// `multiple`.
template <typename Unpack>
void multiplyPanels(const TensorDesc& a, int64_t rows, int64_t columns, int64_t multiple, bool transposeB,
                    const TensorDesc& c, float alpha, bool accumulate, Unpack&& unpack) {
  constexpr int64_t kPanelBytes = 2 << 20, kLeast = 64;
  const int64_t bytes = traitsOf(a.dtype).blockBytes;
  const int64_t depth = transposeB ? columns : rows, width = transposeB ? rows : columns;
  const int64_t step = std::max(kLeast, transposeB ? 16 : multiple);
  const int64_t most = std::max(step, kPanelBytes / std::max<int64_t>(1, depth * bytes) / step * step);
  Scratch scratch;
  void* const memory = scratch.bytes(static_cast<size_t>(std::min(most, width) * depth * bytes));
  for (int64_t at = 0; at < width; at += most) {
    const int64_t count = std::min(most, width - at);
    TensorDesc panel{memory, a.dtype, 2, {count, depth}, {depth, 1}};
    if (!transposeB) panel.shape[0] = depth, panel.shape[1] = panel.strides[0] = count;
    unpack(transposeB ? at : 0, transposeB ? 0 : at, panel);
    TensorDesc target = c;
    target.data = static_cast<std::byte*>(c.data) + at * c.strides[1] * traitsOf(c.dtype).blockBytes;
    target.shape[1] = count;
    matmul(a, false, panel, transposeB, target, alpha, accumulate);
  }
}

}  // namespace

void multiplyBlocks(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, float alpha,
                    bool accumulate) {
  const DTypeTraits blocks = traitsOf(b.dtype);
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) {
    TensorDesc source = b;
    const int64_t offset = row * b.strides[0] + column;
    source.data = static_cast<std::byte*>(b.data) + offset / blocks.blockSize * blocks.blockBytes;
    source.shape[0] = panel.shape[0], source.shape[1] = panel.shape[1];
    dequantise(source, panel);
  };
  multiplyPanels(a, b.shape[0], b.shape[1], blocks.blockSize, transposeB, c, alpha, accumulate, unpack);
}

void matmulCodes(TensorDesc a, CodedMatrix b, bool transposeB, TensorDesc c, float alpha, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (present(b.groups)) requireIndices("matmulCodes", b.groups, b.layout.groupsOfRow());
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) { unpackPanel(b, row, column, panel); };
  multiplyPanels(a, b.codes.shape[0], b.layout.columns, 2, transposeB, c, alpha, accumulate, unpack);
}

}  // namespace mora::cpu
