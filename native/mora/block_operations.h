// The block operators (rotation, decoupling, truncation) as strided-batched products, in place over the blocks of x and
// y: no padded, rotated or cut copy of an activation is made, dead blocks are skipped, and repeated outputs are copied.
// One plan for every backend. A backend brings an object `operations` with
//   matmul(a, transposeA, b, transposeB, c, accumulate)  as in core/backend.h, alpha 1
//   zero(target)
//   groupSum(grouping, source, target)                   overwrites
//   groupSpread(grouping, source, target)                overwrites
//   scratch(bytes)                                       memory until the operation is done
#pragma once
#include <algorithm>
#include <cstddef>

#include "core/backend.h"
#include "mora/geometry.h"

namespace mora {

/// Columns [column, column + width) of rows [T, ..].
inline TensorDesc columnRange(const TensorDesc& rows, int64_t column, int64_t width) {
  TensorDesc view = rows;
  view.data = static_cast<std::byte*>(rows.data) + column * traitsOf(rows.dtype).blockBytes;
  view.shape[1] = width;
  return view;
}

/// Columns [column, column + width) of rows [T, ..] as a batch of `count` matrices R columns apart.
inline TensorDesc columnBlocks(const TensorDesc& rows, int64_t column, int64_t width, int64_t count, int64_t side) {
  TensorDesc view = columnRange(rows, column, width);
  view.rank = 3;
  view.shape[0] = count, view.shape[1] = rows.shape[0], view.shape[2] = width;
  view.strides[0] = side, view.strides[1] = rows.strides[0], view.strides[2] = 1;
  return view;
}

/// The part of the folded matrices that a product uses: [count, rows, depth].
inline TensorDesc matrixBlocks(const TensorDesc& folded, const BlockProduct& product, int64_t side) {
  TensorDesc view = folded;
  const int64_t offset = (product.block * side + product.row) * side + product.column;
  view.data = static_cast<std::byte*>(folded.data) + offset * traitsOf(folded.dtype).blockBytes;
  view.shape[0] = product.count, view.shape[1] = product.rows, view.shape[2] = product.depth;
  return view;
}

/// How often the distinct outputs occur in y, the last time perhaps cut.
inline int64_t repeatsOf(const BlockPlan& plan) {
  return plan.truncate ? 1 : (plan.outFeatures + plan.distinctOutputs() - 1) / plan.distinctOutputs();
}

/// The product with its output moved by `shift` columns and cut at `limit`: at most two products.
template <typename Visit>
void visitShifted(BlockProduct product, int64_t shift, int64_t limit, int64_t side, Visit&& visit) {
  product.output += shift;
  int64_t whole = 0;
  while (whole < product.count && product.output + whole * side + product.rows <= limit) ++whole;
  BlockProduct part = product;
  part.count = whole;
  if (whole > 0) visit(part);
  if (whole == product.count || product.output + whole * side >= limit) return;
  part = product;
  part.output += whole * side, part.input += whole * side, part.block += whole;
  part.count = 1, part.rows = limit - part.output;
  visit(part);
}

/// Gradient of the distinct outputs in `dtype`: dY itself, or in scratch memory its sum over the repeats.
template <typename Operations>
TensorDesc distinctGradient(Operations& operations, const BlockPlan& plan, const TensorDesc& dY, DType dtype) {
  if (repeatsOf(plan) == 1 && dY.dtype == dtype) return dY;
  const int64_t T = dY.shape[0], distinct = plan.truncate ? plan.outFeatures : plan.distinctOutputs();
  void* const memory = operations.scratch(static_cast<size_t>(T * distinct * traitsOf(dtype).blockBytes));
  const TensorDesc sums{memory, dtype, 2, {T, distinct}, {distinct, 1}};
  operations.groupSum(Grouping{GroupKind::tile, 0, plan.outFeatures, distinct}, dY, sums);
  return sums;
}

/// y [T, d] (+)= blocks applied to x [T, k]
template <typename Operations>
void multiplyBlocks(Operations& operations, const BlockPlan& plan, const TensorDesc& x, const TensorDesc& folded,
                    const TensorDesc& y, bool accumulate) {
  const int64_t R = plan.side, d = plan.outFeatures, distinct = plan.distinctOutputs(), repeats = repeatsOf(plan);
  const auto run = [&](const BlockProduct& product) {
    operations.matmul(columnBlocks(x, product.input, product.depth, product.count, R), false,
                      matrixBlocks(folded, product, R), true,
                      columnBlocks(y, product.output, product.rows, product.count, R), accumulate || !product.first);
  };
  // Repeats are copies of the first outputs, unless those hold more than the adapter's part.
  for (int64_t repeat = 0; repeat < (accumulate ? repeats : 1); ++repeat)
    visitBlockProducts(plan, [&](const BlockProduct& product) { visitShifted(product, repeat * distinct, d, R, run); });
  if (accumulate) return;
  if (plan.truncate) {
    if (R < d) operations.zero(columnRange(y, R, d - R));
  } else if (distinct < d) {
    operations.groupSpread(Grouping{GroupKind::tile, 0, d - distinct, distinct}, columnRange(y, 0, distinct),
                           columnRange(y, distinct, d - distinct));
  }
}

/// dX [T, k] (+)= transpose of the blocks applied to dY [T, d]
template <typename Operations>
void multiplyBlocksTransposed(Operations& operations, const BlockPlan& plan, const TensorDesc& dY,
                              const TensorDesc& folded, const TensorDesc& dX, bool accumulate) {
  const int64_t R = plan.side, k = plan.inFeatures;
  const TensorDesc gradient = distinctGradient(operations, plan, dY, dY.dtype);
  // Every live input is written once by its own block, before padding adds to it; with foldOutput more than once.
  const bool overwrite = !accumulate && !plan.foldOutput && !plan.truncate;
  const int64_t written = overwrite ? std::min(plan.liveBlocks() * R, k) : 0;
  if (!accumulate && written < k) operations.zero(columnRange(dX, written, k - written));
  visitBlockProducts(plan, [&](const BlockProduct& product) {
    operations.matmul(
        columnBlocks(gradient, product.output, product.rows, product.count, R), false, matrixBlocks(folded, product, R),
        false, columnBlocks(dX, product.input, product.depth, product.count, R), !(overwrite && product.column == 0));
  });
}

/// dFolded [n, R, R] (f32) (+)= gradient_b^T x_b for every live block; `gradient` is that of the distinct outputs.
template <typename Operations>
void multiplyBlockGradients(Operations& operations, const BlockPlan& plan, const TensorDesc& x,
                            const TensorDesc& gradient, const TensorDesc& dFolded, bool accumulate) {
  const int64_t R = plan.side, last = plan.liveBlocks() - 1;
  // Products write disjoint parts of dFolded; only the last block can have rows or columns that none writes.
  int64_t unwritten = (last + 1) * R * R;
  visitBlockProducts(plan,
                     [&](const BlockProduct& product) { unwritten -= product.count * product.rows * product.depth; });
  if (unwritten > 0 && !accumulate) {
    const BlockProduct whole{0, R, 0, 0, R, 0, last, 1, true};
    operations.zero(matrixBlocks(dFolded, whole, R));
  }
  visitBlockProducts(plan, [&](const BlockProduct& product) {
    operations.matmul(columnBlocks(gradient, product.output, product.rows, product.count, R), true,
                      columnBlocks(x, product.input, product.depth, product.count, R), false,
                      matrixBlocks(dFolded, product, R), accumulate);
  });
}

}  // namespace mora
