// The products of section operators by matrix units (AMX), in bf16 with f32 sums. A block of rows goes through all
// sections: a section's vector is gathered from its columns, padding included, and multiplied; the results are rounded
// once and written to their columns and repeats. So rows are read and written once.
#pragma once
#include "core/backend.h"

namespace mora::cpu {

/// Whether the functions below multiply these rows: matrix units, bf16 and enough rows.
bool multipliesSectionTiles(const TensorDesc& from, const TensorDesc& to);

/// y [T, d] (+)= sections applied to x [T, k]
void multiplySectionTiles(const SectionPlan& plan, const TensorDesc& x, const TensorDesc& folded, const TensorDesc& y,
                          bool accumulate);

/// dX [T, k] (+)= transpose of the sections applied to `gradient`, that of the distinct outputs
void multiplySectionTilesTransposed(const SectionPlan& plan, const TensorDesc& gradient, const TensorDesc& folded,
                                    const TensorDesc& dX, bool accumulate);

/// dFolded [n, R, R] (f32) = gradient_b^T x_b for every live section
void multiplySectionTileGradients(const SectionPlan& plan, const TensorDesc& x, const TensorDesc& gradient,
                                  const TensorDesc& dFolded);

}  // namespace mora::cpu
