#include "cpu/products/panel_products.h"

#include <algorithm>

#include "core/math/panels.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/products/few_rows.h"
#include "cpu/scratch.h"
#include "cpu/stored/codes.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

/// c = alpha a op(b) (+ c). Columns of a panel start at multiples of `multiple`.
template <typename Unpack>
void multiplyUnpacked(const TensorDesc& a, int64_t rows, int64_t columns, int64_t multiple, bool transposeB,
                      const TensorDesc& c, float alpha, bool accumulate, Unpack&& unpack) {
  constexpr int64_t kPanelBytes = 2 << 20, kLeast = 64;
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
  if (transposeB && c.shape[0] <= kFewRows) return multiplyFewRows(a, b, c, alpha, accumulate);
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) { unpackPanel(b, row, column, panel); };
  multiplyUnpacked(a, b.codes.shape[0], b.layout.columns, 2, transposeB, c, alpha, accumulate, unpack);
}

}  // namespace mora::cpu
