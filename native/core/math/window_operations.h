// The section operators in aligned windows (mora/windows.h), over folded matrices [n, W, W]; otherwise like
// core/math/section_operations.h, with the same `operations`.
#pragma once
#include "core/math/section_operations.h"
#include "mora/windows.h"

namespace mora {

/// Columns that the windows of the distinct outputs need if outputs repeat.
inline int64_t windowedOutputs(const SectionPlan& plan) { return cellEnd(plan.distinctOutputs()); }

/// y [T, d] (+)= sections applied to x [T, k]
template <typename Operations>
void multiplyWindows(Operations& operations, const SectionPlan& plan, const TensorDesc& x, const TensorDesc& folded,
                     const TensorDesc& y, bool accumulate) {
  const int64_t R = plan.side;
  // Repeats are aligned differently in their cells than the first outputs, so no product writes them.
  const bool apart = accumulate && repeatsOf(plan) > 1;
  const TensorDesc target = apart ? scratchRows(operations, x.shape[0], windowedOutputs(plan), y.dtype) : y;
  for (const SectionProduct& product : windowProducts(plan, target.shape[1], Written::outputs))
    operations.matmul(inputSections(x, product, R), false, matrixSections(folded, product), true,
                      outputSections(target, product, R), !product.first || (accumulate && !apart));
  if (apart)
    operations.groupSpread(repetitionOf(plan), columnRange(target, 0, plan.distinctOutputs()), y, true);
  else if (!accumulate)
    completeOutputs(operations, plan, plan.truncate ? cellEnd(R) : plan.distinctOutputs(), y);
}

/// dX [T, k] (+)= transpose of the sections applied to dY [T, d]; zeros may follow column d of dY up to a whole cell.
template <typename Operations>
void multiplyWindowsTransposed(Operations& operations, const SectionPlan& plan, const TensorDesc& dY,
                               const TensorDesc& folded, const TensorDesc& dX, bool accumulate) {
  const int64_t R = plan.side, k = plan.inFeatures, written = std::min(cellEnd(plan.liveSections() * R), k);
  const TensorDesc gradient = distinctGradient(operations, plan, dY, dY.dtype, windowedOutputs(plan));
  if (!accumulate && written < k) operations.zero(columnRange(dX, written, k - written));
  for (const SectionProduct& product : windowProducts(plan, gradient.shape[1], Written::inputs))
    operations.matmul(outputSections(gradient, product, R), false, matrixSections(folded, product), false,
                      inputSections(dX, product, R), accumulate || !product.first);
}

/// dFolded [n, W, W] (f32) = gradient_b^T x_b for every live section at its place in its window; the rest is undefined.
/// dY as above.
template <typename Operations>
void multiplyWindowGradients(Operations& operations, const SectionPlan& plan, const TensorDesc& x, const TensorDesc& dY,
                             const TensorDesc& dFolded) {
  const int64_t R = plan.side, last = plan.liveSections() - 1, end = (last + 1) * R;
  const TensorDesc gradient = distinctGradient(operations, plan, dY, dY.dtype, windowedOutputs(plan));
  // Only the last section can have rows or columns that no product writes.
  const bool cutRows = !plan.foldOutput && end > gradient.shape[1], cutColumns = plan.truncate && R > plan.inFeatures;
  if (cutRows || cutColumns) {
    const int64_t window = dFolded.shape[1];
    operations.zero(matrixSections(dFolded, {0, window, 0, 0, window, 0, last, 1, true}));
  }
  for (const SectionProduct& product : windowProducts(plan, gradient.shape[1], Written::matrices))
    operations.matmul(outputSections(gradient, product, R), true, inputSections(x, product, R), false,
                      matrixSections(dFolded, product), false);
}

}  // namespace mora
