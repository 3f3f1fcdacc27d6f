// Rotation, decoupling and truncation (mora/geometry.h): the rotation is folded into the matrix, products run in place
// over the sections of x and y (core/math/section_operations.h), and merging gathers from the folded sections.
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "core/math/section_operations.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/mora/merge_ranges.h"
#include "cpu/mora/section_tiles.h"
#include "cpu/parallel.h"
#include "cpu/products/product_library.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/mora/mora_sections.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Computes rows [begin, end) of all folded sections, stacked: m R_b, where R_b rotates columns j and j + R / 2.
void FoldRows(const SectionPlan& plan, const float* cosines, const float* sines, const TensorDesc& matrix,
              const TensorDesc& folded, int64_t begin, int64_t end) {
  const int64_t R = plan.side, half = R / 2;
  const auto* const M = static_cast<const float*>(matrix.data);
  withFloatType(folded.dtype, "foldSections", [&](auto type) HWY_ATTR {
    auto* const W = static_cast<decltype(type)*>(folded.data);
    for (int64_t row = begin; row < end; ++row) {
      const float *m = M + row % R * R, *c = cosines + row / R * half, *s = sines + row / R * half;
      auto* const w = W + row * R;
      if (!plan.rotate) {
        convert(m, w, R);
        continue;
      }
      forVectors(half, [&](int64_t j, auto part) HWY_ATTR {
        const FloatVector cosine = load(c + j, part), sine = load(s + j, part);
        const FloatVector lower = load(m + j, part), upper = load(m + half + j, part);
        store(hn::MulAdd(lower, cosine, hn::Mul(upper, sine)), w + j, part);
        store(hn::NegMulAdd(lower, sine, hn::Mul(upper, cosine)), w + half + j, part);
      });
    }
  });
}

/// Adds the gradients of the folded sections, rotated back, to rows [begin, end) of dMatrix.
void UnfoldRows(const SectionPlan& plan, const float* cosines, const float* sines, const TensorDesc& dFolded,
                const TensorDesc& dMatrix, int64_t begin, int64_t end) {
  const int64_t R = plan.side, half = R / 2;
  for (int64_t row = begin; row < end; ++row) {
    float* const m = static_cast<float*>(dMatrix.data) + row * R;
    for (int64_t b = 0; b < plan.liveSections(); ++b) {
      const float* const w = static_cast<const float*>(dFolded.data) + (b * R + row) * R;
      const float *c = cosines + b * half, *s = sines + b * half;
      if (!plan.rotate) {
        addTo(m, w, R);
        continue;
      }
      forVectors(half, [&](int64_t j, auto part) HWY_ATTR {
        const FloatVector cosine = load(c + j, part), sine = load(s + j, part);
        const FloatVector lower = load(w + j, part), upper = load(w + half + j, part);
        store(hn::MulAdd(lower, cosine, hn::NegMulAdd(upper, sine, load(m + j, part))), m + j, part);
        store(hn::MulAdd(upper, cosine, hn::MulAdd(lower, sine, load(m + half + j, part))), m + half + j, part);
      });
    }
  }
}

/// A run of values of the folded sections to add to `count` columns of a weight's row.
struct Run {
  int64_t column, count;
  const float* values;
};

/// The runs to add to row j of the weight, by column; wrap-around padding may overlap other runs.
void runsOfRow(const SectionPlan& plan, const std::vector<SectionProduct>& products, const float* folded, int64_t j,
               std::vector<Run>& runs) {
  const int64_t R = plan.side, distinct = plan.truncate ? plan.outFeatures : plan.distinctOutputs();
  runs.clear();
  for (const SectionProduct& product : products) {
    const int64_t distance = j % distinct - product.output, i = distance < 0 ? -1 : distance / R;
    if (i < 0 || i >= product.count || distance % R >= product.rows) continue;
    const int64_t row = (product.section + i) * R + product.row + distance % R;
    runs.push_back({product.input + i * R, product.depth, folded + row * R + product.column});
  }
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.column < b.column; });
}

/// row += scale times the runs, sorted by column; returns the number of non-finite results. Overlapping runs are first
/// summed in `delta` and rounded once.
template <typename T>
int64_t addRuns(const std::vector<Run>& runs, float scale, T* row, std::vector<float>& delta) {
  int64_t nonFinite = 0;
  for (auto run = runs.begin(); run != runs.end();) {
    Run sum = *run++;
    if (run != runs.end() && run->column < sum.column + sum.count) {
      delta.assign(sum.values, sum.values + sum.count);
      for (; run != runs.end() && run->column < sum.column + sum.count; ++run) {
        sum.count = std::max(sum.count, run->column - sum.column + run->count);
        delta.resize(static_cast<size_t>(sum.count), 0.0f);
        addTo(delta.data() + (run->column - sum.column), run->values, run->count);
      }
      sum.values = delta.data();
    }
    nonFinite += mergeInto(sum.values, scale, row + sum.column, sum.count);
  }
  return nonFinite;
}

int64_t MergeSectionRows(const SectionPlan& plan, const std::vector<SectionProduct>& products, const float* folded,
                         float scale, const TensorDesc& weight, int64_t begin, int64_t end) {
  int64_t nonFinite = 0;
  std::vector<Run> runs;
  std::vector<float> delta;
  withFloatType(weight.dtype, "mergeSections", [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) {
      runsOfRow(plan, products, folded, row, runs);
      nonFinite += addRuns(runs, scale, rowOf<decltype(type)>(weight, row), delta);
    }
  });
  return nonFinite;
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(FoldRows);
HWY_EXPORT(UnfoldRows);
HWY_EXPORT(MergeSectionRows);

namespace {

/// The `operations` of core/math/section_operations.h.
struct CpuOperations {
  static void matmul(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                     bool accumulate) {
    cpu::matmul(a, transposeA, b, transposeB, c, 1, accumulate);
  }
  static void zero(const TensorDesc& target) { fill(target, 0); }
  static void groupSpread(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target,
                          bool accumulate) {
    cpu::groupSpread(grouping, source, target, accumulate);
  }
  static void groupSum(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target) {
    cpu::groupSum(grouping, source, target, false);
  }
  void* scratch(size_t bytes) { return memory.bytes(bytes); }

  Scratch memory;
};

/// Rows [begin, begin + rows) of a matrix.
TensorDesc rowRange(const TensorDesc& matrix, int64_t begin, int64_t rows) {
  TensorDesc part = matrix;
  part.data = static_cast<std::byte*>(matrix.data) + begin * matrix.strides[0] * traitsOf(matrix.dtype).blockBytes;
  part.shape[0] = rows;
  return part;
}

/// Cosines and sines of a side's angles [sections, R / 2].
struct Rotation {
  int64_t sections = 0;
  std::vector<float> cosines, sines;
};

/// The angles of at least the plan's live sections. They are cached, since every layer of every step needs them.
const Rotation& rotationOf(const SectionPlan& plan) {
  thread_local std::unordered_map<int64_t, Rotation> rotations;
  Rotation& known = rotations[plan.side];
  for (; plan.rotate && known.sections < plan.liveSections(); ++known.sections)
    for (int64_t j = 0; j < plan.side / 2; ++j) {
      const double theta = std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(plan.side));
      const double angle = static_cast<double>(known.sections) * theta;
      known.cosines.push_back(static_cast<float>(std::cos(angle)));
      known.sines.push_back(static_cast<float>(std::sin(angle)));
    }
  return known;
}

}  // namespace

void foldSections(SectionPlan plan, TensorDesc matrix, TensorDesc folded) {
  const int64_t R = plan.side;
  const Rotation& rotation = rotationOf(plan);
  parallelRanges(plan.liveSections() * R, R, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(FoldRows)(plan, rotation.cosines.data(), rotation.sines.data(), matrix, folded, begin, end);
  });
}

void unfoldSections(SectionPlan plan, TensorDesc dFolded, TensorDesc dMatrix, bool accumulate) {
  const int64_t R = plan.side;
  const Rotation& rotation = rotationOf(plan);
  if (!accumulate) fill(dMatrix, 0);
  parallelRanges(R, R * plan.liveSections(), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(UnfoldRows)
    (plan, rotation.cosines.data(), rotation.sines.data(), dFolded, dMatrix, begin, end);
  });
}

void sectionsForward(SectionPlan plan, TensorDesc x, TensorDesc folded, TensorDesc y, bool accumulate) {
  if (multipliesSectionTiles(x, y)) return multiplySectionTiles(plan, x, folded, y, accumulate);
  CpuOperations operations;
  multiplySections(operations, plan, x, folded, y, accumulate);
}

void sectionsBackwardInput(SectionPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX, bool accumulate) {
  CpuOperations operations;
  if (multipliesSectionTiles(dY, dX)) {
    const TensorDesc gradient = distinctGradient(operations, plan, dY, DType::bf16);
    return multiplySectionTilesTransposed(plan, gradient, folded, dX, accumulate);
  }
  multiplySectionsTransposed(operations, plan, dY, folded, dX, accumulate);
}

void sectionsBackwardWeight(SectionPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded) {
  if (multipliesSectionTiles(x, dY)) {
    CpuOperations operations;
    return multiplySectionTileGradients(plan, x, distinctGradient(operations, plan, dY, DType::bf16), dFolded);
  }
  // Sections are too narrow for matmul to widen one by one: here one widened tile of rows serves all of them.
  const int64_t T = x.shape[0], k = plan.inFeatures;
  const DType dtype = x.dtype == DType::bf16 && hasFastBfloat16() ? DType::bf16 : DType::f32;
  const int64_t tile = x.dtype == dtype ? T : 512;
  if (T == 0) fill(dFolded, 0);
  for (int64_t row = 0; row < T; row += tile) {
    CpuOperations operations;
    const int64_t rows = std::min(tile, T - row);
    const TensorDesc gradient = distinctGradient(operations, plan, rowRange(dY, row, rows), dtype);
    TensorDesc input = rowRange(x, row, rows);
    if (input.dtype != dtype) {
      void* const memory = operations.scratch(static_cast<size_t>(rows * k * traitsOf(dtype).blockBytes));
      const TensorDesc wide{memory, dtype, 2, {rows, k}, {k, 1}};
      copy(input, wide, 1);
      input = wide;
    }
    multiplySectionGradients(operations, plan, input, gradient, dFolded, row > 0);
  }
}

void mergeSections(SectionPlan plan, TensorDesc folded, float scale, TensorDesc weight, TensorDesc nonFinite) {
  std::vector<SectionProduct> products;
  visitSectionProducts(plan, [&](const SectionProduct& product) { products.push_back(product); });
  mergeRanges(plan.outFeatures, plan.inFeatures, nonFinite, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(MergeSectionRows)(plan, products, static_cast<const float*>(folded.data), scale, weight,
                                                  begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
