// Products of row-major tensors by cuBLAS, which expects columns: a row-major matrix is the transpose of a matrix in
// columns, so c = op(a) op(b) is computed as c^T = op(b)^T op(a)^T, and no operand is copied. If neither dimension of
// an operand is contiguous, a dense copy is used.
#include <algorithm>
#include <utility>

#include "core/descriptor.h"
#include "core/math/panels.h"
#include "cuda/kernels.h"
#include "cuda/products/products.h"
#include "cuda/runtime/check.h"
#include "cuda/stored/codes.h"

namespace mora::cuda {
namespace {

CublasType typeOf(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CublasType::f32;
    case DType::bf16:
      return CublasType::bf16;
    case DType::f16:
      return CublasType::f16;
    default:
      unsupported(std::string("matmul of ") + traitsOf(dtype).name);
  }
}

/// One matrix of a batch as cuBLAS addresses it: one of its two dimensions has stride 1, the other's is `leading`.
struct Layout {
  bool fits;
  bool rowsAreDense;  // elements of a row are contiguous
  int64_t leading;
};

Layout layoutOf(const TensorDesc& tensor) {
  const int64_t rows = tensor.shape[tensor.rank - 2], columns = tensor.shape[tensor.rank - 1];
  const int64_t rowStride = tensor.strides[tensor.rank - 2], columnStride = tensor.strides[tensor.rank - 1];
  // The stride of a dimension of 1 has no meaning; cuBLAS requires one that does not overlap.
  if (columns == 1 || columnStride == 1) {
    const int64_t leading = rows == 1 ? columns : rowStride;
    if (leading >= columns) return {true, true, std::max<int64_t>(1, leading)};
  }
  if (rows == 1 || rowStride == 1) {
    const int64_t leading = columns == 1 ? rows : columnStride;
    if (leading >= rows) return {true, false, std::max<int64_t>(1, leading)};
  }
  return {false, true, 0};
}

int64_t batchOf(const TensorDesc& tensor) { return tensor.rank == 3 ? tensor.shape[0] : 1; }
bool repeats(const TensorDesc& tensor) { return tensor.rank == 3 && tensor.strides[0] == 0; }

/// Dense scratch memory in the shape of a tensor; a batch that repeats one matrix is stored once.
TensorDesc scratchLike(Context& context, Slot slot, const TensorDesc& tensor, DType dtype) {
  TensorDesc dense = tensor;
  dense.dtype = dtype;
  int64_t stride = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    const bool repeated = i == 0 && repeats(tensor);
    dense.strides[i] = repeated ? 0 : stride;
    stride *= repeated ? 1 : tensor.shape[i];
  }
  dense.data = context.scratch(slot, static_cast<size_t>(stride * traitsOf(dtype).blockBytes));
  return dense;
}

/// The tensor itself if cuBLAS supports its layout and it has that type, else a dense copy of it.
TensorDesc suited(Context& context, Slot slot, const TensorDesc& tensor, DType dtype) {
  if (tensor.dtype == dtype && layoutOf(tensor).fits) return tensor;
  const TensorDesc dense = scratchLike(context, slot, tensor, dtype);
  TensorDesc from = tensor, to = dense;
  if (repeats(tensor)) from.shape[0] = to.shape[0] = 1;
  copy(context, from, to, 1);
  return dense;
}

/// op(tensor) for cuBLAS; `transposed` if cuBLAS must transpose what it reads in columns.
Products::Matrix matrixOf(const TensorDesc& tensor, bool transposed) {
  const Layout layout = layoutOf(tensor);
  return {tensor.data, typeOf(tensor.dtype), layout.rowsAreDense != transposed, layout.leading,
          batchOf(tensor) == 1 ? 0 : tensor.strides[0]};
}

/// c is written by cuBLAS in place.
void multiply(Context& context, const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB,
              const TensorDesc& c, float alpha, bool accumulate) {
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const Products::Matrix left = matrixOf(a, transposeA), right = matrixOf(b, transposeB), result = matrixOf(c, false);
  if (!result.transposed)
    return context.products->multiply(m, n, k, batchOf(c), left, right, result, alpha, accumulate);
  const auto turned = [](Products::Matrix matrix) {
    matrix.transposed = !matrix.transposed;
    return matrix;
  };
  context.products->multiply(n, m, k, batchOf(c), turned(right), turned(left), result, alpha, accumulate);
}

/// Whether a product is a column times a single element: cuBLAS would compute it in tiles of which only one column is
/// used.
bool byOneElement(const TensorDesc& a, bool transposeA, const TensorDesc& b, const TensorDesc& c) {
  return a.rank == 2 && !transposeA && elementsOf(b) == 1 && a.dtype == b.dtype && a.strides[0] == 1 &&
         c.strides[0] == 1;
}

/// A contiguous column [n, 1] as one row.
TensorDesc asRow(const TensorDesc& column) {
  TensorDesc row = column;
  row.shape[0] = 1;
  row.shape[1] = row.strides[0] = column.shape[0];
  row.strides[1] = 1;
  return row;
}

/// c = alpha a op(b) (+ c). Caches of large GPUs hold a panel; all block sizes divide 256 columns.
template <typename Unpack>
void multiplyUnpacked(Context& context, const TensorDesc& a, int64_t rows, int64_t columns, bool transposeB,
                      const TensorDesc& c, float alpha, bool accumulate, Unpack&& unpack) {
  multiplyPanels(
      a, rows, columns, transposeB, c, {32 << 20, 256},
      [&](size_t bytes) { return context.scratch(Slot::panel, bytes); }, unpack,
      [&](const TensorDesc& panel, const TensorDesc& target) {
        matmul(context, a, false, panel, transposeB, target, alpha, accumulate);
      });
}

void multiplyQuantised(Context& context, const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                       float alpha, bool accumulate) {
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) {
    TensorDesc source = b;
    source.data = static_cast<std::byte*>(b.data) + bytesFor(b.dtype, row * b.strides[0] + column);
    source.shape[0] = panel.shape[0], source.shape[1] = panel.shape[1];
    dequantise(context, source, panel);
  };
  multiplyUnpacked(context, a, b.shape[0], b.shape[1], transposeB, c, alpha, accumulate, unpack);
}

}  // namespace

void matmulCodes(Context& context, TensorDesc a, CodedMatrix b, bool transposeB, TensorDesc c, float alpha,
                 bool accumulate) {
  if (elementsOf(c) == 0) return;
  const auto unpack = [&](int64_t row, int64_t column, const TensorDesc& panel) {
    unpackPanel(context, b, row, column, panel);
  };
  multiplyUnpacked(context, a, b.codes.shape[0], b.layout.columns, transposeB, c, alpha, accumulate, unpack);
}

void matmul(Context& context, TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha,
            bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (elementsOf(a) == 0) {
    if (!accumulate) fill(context, c, 0);
    return;
  }
  if (isQuantised(b.dtype)) return multiplyQuantised(context, a, b, transposeB, c, alpha, accumulate);
  if (byOneElement(a, transposeA, b, c)) return multiplyByElement(context, asRow(a), b, asRow(c), alpha, accumulate);
  const DType dtype = a.dtype == b.dtype ? a.dtype : DType::f32;
  a = suited(context, Slot::left, a, dtype);
  b = suited(context, Slot::right, b, dtype);
  // f32 operands give f32; narrower ones their own type or f32.
  const bool direct = layoutOf(c).fits && (c.dtype == DType::f32 || c.dtype == dtype);
  if (direct) return multiply(context, a, transposeA, b, transposeB, c, alpha, accumulate);
  const TensorDesc sums = scratchLike(context, Slot::sums, c, DType::f32);
  multiply(context, a, transposeA, b, transposeB, sums, alpha, false);
  if (accumulate)
    add(context, sums, c, 1);
  else
    copy(context, sums, c, 1);
}

void matmulInt8(Context&, TensorDesc, TensorDesc, bool, TensorDesc, bool) { unsupported("matmulInt8"); }

}  // namespace mora::cuda
