// Which columns MoRA's operators read and write: index maps of the sharing operators, and the plan of products of the
// section operators (rotation, decoupling, truncation). Pure arithmetic, shared by every backend; no device code.
//
// k inputs, d outputs, R side of the square matrix, n = ceil(k / R) input sections, pad = n R - k.
// Paper: arXiv 2405.12130, Eq. 4, 6, 8, 9 and Appendix B.
#pragma once
#include <algorithm>
#include <cstdint>

#if defined(__CUDACC__)
#define MORA_HOST_DEVICE __host__ __device__
#else
#define MORA_HOST_DEVICE
#endif

namespace mora {

/// How `width` columns are assigned to `side` groups.
enum class GroupKind : int32_t {
  tile,  // column c belongs to group c mod side; with `wrap`, columns x[i mod width] follow up to a multiple of
         // side
  runs,  // neighbours: the first (width mod side) groups have one column more than the rest
};

struct Grouping {
  GroupKind kind;
  int32_t wrap;  // 1: tile's inputs, whose padding repeats the start of x (as often as needed)
  int64_t width;
  int64_t side;

  /// Number of virtual columns: width, or width rounded up to a multiple of side with `wrap`.
  MORA_HOST_DEVICE int64_t extent() const { return wrap ? (width + side - 1) / side * side : width; }

  /// Group of a virtual column c in [0, extent()).
  MORA_HOST_DEVICE int64_t groupOf(int64_t c) const {
    if (kind == GroupKind::tile) return c % side;
    const int64_t shorter = width / side, longer = width % side, split = longer * (shorter + 1);
    return c < split ? c / (shorter + 1) : longer + (c - split) / shorter;
  }

  /// First column of group g of runs; its end is runStart(g + 1).
  MORA_HOST_DEVICE int64_t runStart(int64_t g) const {
    const int64_t shorter = width / side, longer = width % side;
    return g * shorter + (g < longer ? g : longer);
  }
};

/// Rotation, decoupling and truncation as products of sections, in place in x and y.
struct SectionPlan {
  int64_t inFeatures, outFeatures, side;
  int32_t rotate;      // 1: section b of the matrix is M R_b, angles b * 10000^(-2j/R) of pairs (j, j + R/2)
  int32_t truncate;    // 1: one section, no padding, zeros after it (Eq. 4)
  int32_t foldOutput;  // 1: section b's output is added to rows (b R + i) mod d and nothing is cut (not in the paper)

  MORA_HOST_DEVICE int64_t sections() const { return truncate ? 1 : (inFeatures + side - 1) / side; }
  /// Number of sections whose output is kept: d cuts the rest, which are never computed.
  MORA_HOST_DEVICE int64_t liveSections() const {
    if (foldOutput) return sections();
    const int64_t needed = (outFeatures + side - 1) / side;
    return needed < sections() ? needed : sections();
  }
  /// Output columns before repetition starts: min(d, n R).
  MORA_HOST_DEVICE int64_t distinctOutputs() const {
    const int64_t all = sections() * side;
    return all < outFeatures ? all : outFeatures;
  }
};

/// One strided-batched product of the plan. For i in [0, count), with s = i step:
/// y[:, output + s R ..+ rows) (+)= x[:, input + s R ..+ depth) * folded[section + s][row ..+ rows)[column ..+
/// depth)^T.
struct SectionProduct {
  int64_t output, rows, row;
  int64_t input, depth, column;
  int64_t section, count;
  bool first;  // no earlier product writes these outputs
  int64_t step = 1;
};

/// Calls `visit(SectionProduct)` for the products of the plan, in a fixed order. For each run of output rows, the
/// section's own columns come first, then the wrap-around padding of the last input section, which accumulates.
template <typename Visit>
void visitSectionProducts(const SectionPlan& plan, Visit&& visit) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side;
  if (plan.truncate) {
    visit(SectionProduct{0, std::min(R, d), 0, 0, std::min(R, k), 0, 0, 1, true});
    return;
  }
  const int64_t n = plan.sections(), tail = k - (n - 1) * R;  // inputs of the last section before padding

  // Sections [section, section + count) produce `rows` rows each from `row` on, at `output`.
  const auto emit = [&](int64_t output, int64_t rows, int64_t row, int64_t section, int64_t count, bool first) {
    const bool ragged = section + count == n && tail < R;
    const int64_t whole = count - (ragged ? 1 : 0);
    if (whole > 0) visit(SectionProduct{output, rows, row, section * R, R, 0, section, whole, first});
    if (!ragged) return;
    const int64_t at = output + whole * R;
    visit(SectionProduct{at, rows, row, (n - 1) * R, tail, 0, n - 1, 1, first});
    for (int64_t column = tail; column < R; column += k)
      visit(SectionProduct{at, rows, row, 0, std::min(R - column, k), column, n - 1, 1, false});
  };

  if (!plan.foldOutput) {
    const int64_t distinct = plan.distinctOutputs(), full = distinct / R;
    if (full > 0) emit(0, R, 0, 0, full, true);
    if (distinct % R > 0) emit(full * R, distinct % R, 0, full, 1, true);
    return;
  }
  for (int64_t section = 0; section < n; ++section) {
    for (int64_t row = 0; row < R;) {
      const int64_t at = (section * R + row) % d, rows = std::min(R - row, d - at);
      emit(at, rows, row, section, 1, section * R + row < d);
      row += rows;
    }
  }
}

}  // namespace mora
