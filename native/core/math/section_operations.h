// The section operators (rotation, decoupling, truncation) as strided-batched products, in place over the sections of x
// and y: activations are never padded, rotated or cut in copies, dead sections are skipped, and repeated outputs are
// copied. All backends use this plan. A backend passes an object `operations` with
//   matmul(a, transposeA, b, transposeB, c, accumulate)  as in core/backend.h, alpha 1
//   zero(target)
//   groupSum(grouping, source, target)                   overwrites
//   groupSpread(grouping, source, target, accumulate)
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

/// Columns [column, column + width) of rows [T, ..] as a batch of `count` matrices, `stride` columns apart.
inline TensorDesc columnSections(const TensorDesc& rows, int64_t column, int64_t width, int64_t count, int64_t stride) {
  TensorDesc view = columnRange(rows, column, width);
  view.rank = 3;
  view.shape[0] = count, view.shape[1] = rows.shape[0], view.shape[2] = width;
  view.strides[0] = stride, view.strides[1] = rows.strides[0], view.strides[2] = 1;
  return view;
}

/// The part of x that a product reads, or of dX that it writes: [count, T, depth].
inline TensorDesc inputSections(const TensorDesc& x, const SectionProduct& product, int64_t side) {
  return columnSections(x, product.input, product.depth, product.count, product.step * side);
}

/// The part of y that a product writes, or of dY that it reads: [count, T, rows].
inline TensorDesc outputSections(const TensorDesc& y, const SectionProduct& product, int64_t side) {
  return columnSections(y, product.output, product.rows, product.count, product.step * side);
}

/// The part of the folded matrices that a product uses: [count, rows, depth].
inline TensorDesc matrixSections(const TensorDesc& folded, const SectionProduct& product) {
  TensorDesc view = folded;
  const int64_t offset =
      product.section * folded.strides[0] + product.row * folded.strides[1] + product.column * folded.strides[2];
  view.data = static_cast<std::byte*>(folded.data) + offset * traitsOf(folded.dtype).blockBytes;
  view.shape[0] = product.count, view.shape[1] = product.rows, view.shape[2] = product.depth;
  view.strides[0] *= product.step;
  return view;
}

/// How many times y contains the distinct outputs, the last of them possibly cut.
inline int64_t repeatsOf(const SectionPlan& plan) {
  return plan.truncate ? 1 : (plan.outFeatures + plan.distinctOutputs() - 1) / plan.distinctOutputs();
}

/// How y repeats its distinct outputs.
inline Grouping repetitionOf(const SectionPlan& plan) {
  return {GroupKind::tile, 0, plan.outFeatures, plan.distinctOutputs()};
}

/// The product with its output moved by `shift` columns and cut at `limit`: at most two products.
template <typename Visit>
void visitShifted(SectionProduct product, int64_t shift, int64_t limit, int64_t side, Visit&& visit) {
  product.output += shift;
  int64_t whole = 0;
  while (whole < product.count && product.output + whole * side + product.rows <= limit) ++whole;
  SectionProduct part = product;
  part.count = whole;
  if (whole > 0) visit(part);
  if (whole == product.count || product.output + whole * side >= limit) return;
  part = product;
  part.output += whole * side, part.input += whole * side, part.section += whole;
  part.count = 1, part.rows = limit - part.output;
  visit(part);
}

/// Allocates dense rows [T, columns] in scratch memory.
template <typename Operations>
TensorDesc scratchRows(Operations& operations, int64_t T, int64_t columns, DType dtype) {
  void* const memory = operations.scratch(static_cast<size_t>(T * columns * traitsOf(dtype).blockBytes));
  return {memory, dtype, 2, {T, columns}, {columns, 1}};
}

/// Gradient of the distinct outputs in `dtype`: dY itself, or its sum over the repeats in scratch memory, padded with
/// zeros to `columns`.
template <typename Operations>
TensorDesc distinctGradient(Operations& operations, const SectionPlan& plan, const TensorDesc& dY, DType dtype,
                            int64_t columns) {
  if (repeatsOf(plan) == 1 && dY.dtype == dtype) return dY;
  const int64_t distinct = plan.truncate ? plan.outFeatures : plan.distinctOutputs();
  const TensorDesc sums = scratchRows(operations, dY.shape[0], columns, dtype);
  operations.groupSum(Grouping{GroupKind::tile, 0, plan.outFeatures, distinct}, dY, columnRange(sums, 0, distinct));
  if (columns > distinct) operations.zero(columnRange(sums, distinct, columns - distinct));
  return sums;
}

template <typename Operations>
TensorDesc distinctGradient(Operations& operations, const SectionPlan& plan, const TensorDesc& dY, DType dtype) {
  const int64_t distinct = plan.truncate ? plan.outFeatures : plan.distinctOutputs();
  return distinctGradient(operations, plan, dY, dtype, distinct);
}

/// Completes y after its first `reached` columns: with zeros after a truncation, else with repeats of the distinct
/// outputs.
template <typename Operations>
void completeOutputs(Operations& operations, const SectionPlan& plan, int64_t reached, const TensorDesc& y) {
  const int64_t rest = plan.outFeatures - reached;
  if (rest <= 0) return;
  if (plan.truncate) return operations.zero(columnRange(y, reached, rest));
  operations.groupSpread(Grouping{GroupKind::tile, 0, rest, reached}, columnRange(y, 0, reached),
                         columnRange(y, reached, rest), false);
}

/// y [T, d] (+)= sections applied to x [T, k]
template <typename Operations>
void multiplySections(Operations& operations, const SectionPlan& plan, const TensorDesc& x, const TensorDesc& folded,
                      const TensorDesc& y, bool accumulate) {
  const int64_t R = plan.side, d = plan.outFeatures, distinct = plan.distinctOutputs(), repeats = repeatsOf(plan);
  const auto run = [&](const SectionProduct& product) {
    operations.matmul(inputSections(x, product, R), false, matrixSections(folded, product), true,
                      outputSections(y, product, R), accumulate || !product.first);
  };
  // Repeats are copied from the first outputs, unless y already holds more than the adapter's part.
  for (int64_t repeat = 0; repeat < (accumulate ? repeats : 1); ++repeat)
    visitSectionProducts(plan,
                         [&](const SectionProduct& product) { visitShifted(product, repeat * distinct, d, R, run); });
  if (!accumulate) completeOutputs(operations, plan, plan.truncate ? R : distinct, y);
}

/// dX [T, k] (+)= transpose of the sections applied to dY [T, d]
template <typename Operations>
void multiplySectionsTransposed(Operations& operations, const SectionPlan& plan, const TensorDesc& dY,
                                const TensorDesc& folded, const TensorDesc& dX, bool accumulate) {
  const int64_t R = plan.side, k = plan.inFeatures;
  const TensorDesc gradient = distinctGradient(operations, plan, dY, dY.dtype);
  // A section first overwrites its own live inputs, then padding adds to them; foldOutput adds more than once.
  const bool overwrite = !accumulate && !plan.foldOutput && !plan.truncate;
  const int64_t written = overwrite ? std::min(plan.liveSections() * R, k) : 0;
  if (!accumulate && written < k) operations.zero(columnRange(dX, written, k - written));
  visitSectionProducts(plan, [&](const SectionProduct& product) {
    operations.matmul(outputSections(gradient, product, R), false, matrixSections(folded, product), false,
                      inputSections(dX, product, R), !(overwrite && product.column == 0));
  });
}

/// dFolded [n, R, R] (f32) (+)= gradient_b^T x_b for every live section; `gradient` is the distinct outputs' gradient.
template <typename Operations>
void multiplySectionGradients(Operations& operations, const SectionPlan& plan, const TensorDesc& x,
                              const TensorDesc& gradient, const TensorDesc& dFolded, bool accumulate) {
  const int64_t R = plan.side, last = plan.liveSections() - 1;
  // Products write disjoint parts of dFolded; only the last section can have rows or columns that no product writes.
  int64_t unwritten = (last + 1) * R * R;
  visitSectionProducts(
      plan, [&](const SectionProduct& product) { unwritten -= product.count * product.rows * product.depth; });
  if (unwritten > 0 && !accumulate) {
    const SectionProduct whole{0, R, 0, 0, R, 0, last, 1, true};
    operations.zero(matrixSections(dFolded, whole));
  }
  visitSectionProducts(plan, [&](const SectionProduct& product) {
    operations.matmul(outputSections(gradient, product, R), true, inputSections(x, product, R), false,
                      matrixSections(dFolded, product), accumulate);
  });
}

}  // namespace mora
