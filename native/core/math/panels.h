// Products with a frozen matrix whose values are unpacked when needed, for both backends: one panel at a time, which
// stays in a cache until it is multiplied. The whole matrix never exists in memory.
#pragma once
#include <algorithm>

#include "core/descriptor.h"

namespace mora {

struct PanelSizes {
  int64_t bytes;  // of a panel, approximately
  int64_t step;   // panels start at multiples of it, and have at least as many rows or columns
};

/// c [m, n] = a op(b) for b [rows, columns]. `unpack(row, column, panel)` fills a panel of a's type with rows of b if
/// it is transposed, else with columns, so that no sum is split. `take(bytes)` returns memory for one panel;
/// `multiply(panel, target)` multiplies a by the panel into its columns of c.
template <typename Take, typename Unpack, typename Multiply>
void multiplyPanels(const TensorDesc& a, int64_t rows, int64_t columns, bool transposeB, const TensorDesc& c,
                    PanelSizes sizes, Take&& take, Unpack&& unpack, Multiply&& multiply) {
  const int64_t bytes = traitsOf(a.dtype).blockBytes;
  const int64_t depth = transposeB ? columns : rows, width = transposeB ? rows : columns;
  const int64_t fitting = sizes.bytes / std::max<int64_t>(1, depth * bytes);
  const int64_t most = std::max(sizes.step, fitting / sizes.step * sizes.step);
  void* const memory = take(static_cast<size_t>(std::min(most, width) * depth * bytes));
  for (int64_t at = 0; at < width; at += most) {
    const int64_t count = std::min(most, width - at);
    TensorDesc panel{memory, a.dtype, 2, {count, depth}, {depth, 1}};
    if (!transposeB) panel.shape[0] = depth, panel.shape[1] = panel.strides[0] = count;
    unpack(transposeB ? at : 0, transposeB ? 0 : at, panel);
    TensorDesc target = c;
    target.data = static_cast<std::byte*>(c.data) + at * c.strides[1] * traitsOf(c.dtype).blockBytes;
    target.shape[1] = count;
    multiply(panel, target);
  }
}

}  // namespace mora
