// The section operators as products, in place (core/math/section_operations.h) and in aligned windows
// (core/math/window_operations.h), with operations that are plain loops, against the definition over thousands of
// random shapes. Values are small integers, so that sums in float are exact.
#include "core/math/section_operations.h"

#include <cmath>
#include <deque>
#include <random>
#include <vector>

#include "check.h"
#include "core/math/window_operations.h"

using namespace mora;

namespace {

std::mt19937_64 random64(7);

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random64); }

constexpr float kUnwritten = NAN;

/// Rows [T, columns] of floats with gaps between them, which must not change.
struct Rows {
  static constexpr int64_t kRoom = 3;
  std::vector<float> values;
  TensorDesc desc;

  Rows(int64_t T, int64_t columns, bool filled) : values(static_cast<size_t>(T * (columns + kRoom)), kUnwritten) {
    desc = {values.data(), DType::f32, 2, {T, columns}, {columns + kRoom, 1}};
    for (int64_t t = 0; filled && t < T; ++t)
      for (int64_t c = 0; c < columns; ++c) at(t, c) = static_cast<float>(between(-4, 4));
  }
  Rows(Rows&& other) = delete;

  float& at(int64_t t, int64_t c) { return values[static_cast<size_t>(t * desc.strides[0] + c)]; }
  bool roomIsUntouched() {
    bool untouched = true;
    for (int64_t t = 0; t < desc.shape[0]; ++t)
      for (int64_t c = 0; c < kRoom; ++c) untouched = untouched && std::isnan(at(t, desc.shape[1] + c));
    return untouched;
  }
};

/// An element of a batch of matrices, or of one.
float& element(const TensorDesc& of, int64_t batch, int64_t row, int64_t column, bool transposed) {
  const int64_t *const shape = of.shape + of.rank - 2, *const strides = of.strides + of.rank - 2;
  if (transposed) std::swap(row, column);
  CHECK(row < shape[0] && column < shape[1]);
  const int64_t ahead = of.rank == 3 ? batch * of.strides[0] : 0;
  return static_cast<float*>(of.data)[ahead + row * strides[0] + column * strides[1]];
}

/// A backend's operations as plain loops. Outputs are repeated up to their width, not beyond: no grouping wraps.
struct Loops {
  std::deque<std::vector<float>> memory;

  void matmul(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
              bool accumulate) {
    const int64_t* const sizes = c.shape + 1;
    CHECK(a.shape[0] == c.shape[0] && b.shape[0] == c.shape[0]);
    CHECK(a.shape[transposeA ? 2 : 1] == sizes[0] && b.shape[transposeB ? 1 : 2] == sizes[1]);
    const int64_t depth = a.shape[transposeA ? 1 : 2];
    CHECK(b.shape[transposeB ? 2 : 1] == depth);
    CHECK(c.shape[0] > 0 && sizes[0] > 0 && sizes[1] > 0 && depth > 0);
    for (int64_t batch = 0; batch < c.shape[0]; ++batch)
      for (int64_t i = 0; i < sizes[0]; ++i)
        for (int64_t j = 0; j < sizes[1]; ++j) {
          float sum = accumulate ? element(c, batch, i, j, false) : 0;
          for (int64_t l = 0; l < depth; ++l)
            sum += element(a, batch, i, l, transposeA) * element(b, batch, l, j, transposeB);
          element(c, batch, i, j, false) = sum;
        }
  }
  void zero(const TensorDesc& target) {
    for (int64_t batch = 0; batch < (target.rank == 3 ? target.shape[0] : 1); ++batch)
      for (int64_t i = 0; i < target.shape[target.rank - 2]; ++i)
        for (int64_t j = 0; j < target.shape[target.rank - 1]; ++j) element(target, batch, i, j, false) = 0;
  }
  void groupSum(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target) {
    CHECK(grouping.width == source.shape[1] && grouping.side == target.shape[1] && grouping.wrap == 0);
    zero(target);
    for (int64_t t = 0; t < source.shape[0]; ++t)
      for (int64_t c = 0; c < grouping.width; ++c)
        element(target, 0, t, grouping.groupOf(c), false) += element(source, 0, t, c, false);
  }
  void groupSpread(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target, bool accumulate) {
    CHECK(grouping.width == target.shape[1] && grouping.side == source.shape[1] && grouping.wrap == 0);
    for (int64_t t = 0; t < target.shape[0]; ++t)
      for (int64_t c = 0; c < grouping.width; ++c) {
        float& to = element(target, 0, t, c, false);
        to = (accumulate ? to : 0) + element(source, 0, t, grouping.groupOf(c), false);
      }
  }
  void* scratch(size_t bytes) { return memory.emplace_back(bytes / sizeof(float), kUnwritten).data(); }
};

/// Folded matrices [n, side, side], each section [R, R] at its place in a window or, if side is R, without one. The
/// number after them must not change.
struct Folded {
  SectionPlan plan;
  int64_t side;
  std::vector<float> values;
  TensorDesc desc;

  Folded(const SectionPlan& of, int64_t width, float around)
      : plan(of), side(width), values(static_cast<size_t>(of.liveSections() * width * width + 1), around) {
    desc = {values.data(), DType::f32, 3, {of.liveSections(), width, width}, {width * width, width, 1}};
  }
  Folded(Folded&& other) = delete;

  /// Element (position mod R, column) of the section that contains the position.
  float& at(int64_t position, int64_t column) {
    const int64_t section = position / plan.side, offset = windowOffset(plan.side, side, section);
    return element(desc, section, offset + position % plan.side, offset + column, false);
  }
};

/// Calls visit(output, input, position, column) for every element of the matrices that is used (paper, Eq. 4, 8, 9): x
/// is continued by itself and cut into sections, and results are concatenated, cut at d (or folded), and repeated up to
/// d.
template <typename Visit>
void visitDefinition(const SectionPlan& plan, Visit&& visit) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side, all = plan.sections() * R;
  for (int64_t position = 0; position < all; ++position)
    for (int64_t column = 0; column < R; ++column) {
      const int64_t input = position / R * R + column;
      if (plan.truncate && input >= k) continue;
      if (plan.foldOutput && position >= d) visit(position % d, input % k, position, column);
      for (int64_t output = position; output < d; output += plan.truncate ? d : all)
        visit(output, input % k, position, column);
    }
}

struct Case {
  SectionPlan plan;
  int64_t T = between(1, 3);
  Rows x, dY;
  std::vector<float> y, dX, dM;  // by the definition: [T, d], [T, k], [live sections * R, R]
  Folded folded;

  Case(const SectionPlan& of, int64_t side)
      : plan(of), x(T, of.inFeatures, true), dY(T, of.outFeatures, true), folded(of, side, 0) {
    const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side, live = plan.liveSections() * R;
    for (int64_t position = 0; position < live; ++position)
      for (int64_t column = 0; column < R; ++column) folded.at(position, column) = static_cast<float>(between(-4, 4));
    y.assign(static_cast<size_t>(T * d), 0), dX.assign(static_cast<size_t>(T * k), 0);
    dM.assign(static_cast<size_t>(live * R), 0);
    visitDefinition(plan, [&](int64_t output, int64_t input, int64_t position, int64_t column) {
      if (!CHECK(position < live)) return;
      for (int64_t t = 0; t < T; ++t) {
        y[static_cast<size_t>(t * d + output)] += folded.at(position, column) * x.at(t, input);
        dX[static_cast<size_t>(t * k + input)] += folded.at(position, column) * dY.at(t, output);
        dM[static_cast<size_t>(position * R + column)] += dY.at(t, output) * x.at(t, input);
      }
    });
  }

  /// Runs `multiply(target, accumulate)` into [T, columns], accumulating and overwriting.
  template <typename Multiply>
  void checkRows(const char* what, const std::vector<float>& expected, int64_t columns, Multiply&& multiply) {
    for (const bool accumulate : {false, true}) {
      Rows target(T, columns, accumulate);
      std::vector<float> sums = expected;
      for (int64_t i = 0; accumulate && i < T * columns; ++i)
        sums[static_cast<size_t>(i)] += target.at(i / columns, i % columns);
      multiply(target.desc, accumulate);
      bool equal = target.roomIsUntouched();
      for (int64_t i = 0; i < T * columns; ++i)
        equal = equal && target.at(i / columns, i % columns) == sums[static_cast<size_t>(i)];
      if (!CHECK(equal)) tell(what, accumulate);
    }
  }
  void checkMatrices(const char* what, Folded& gradients, const std::vector<float>& before) {
    bool equal = std::isnan(gradients.values.back());
    const int64_t R = plan.side;
    for (size_t i = 0; i < dM.size(); ++i)
      equal = equal && gradients.at(static_cast<int64_t>(i) / R, static_cast<int64_t>(i) % R) == dM[i] + before[i];
    if (!CHECK(equal)) tell(what, false);
  }
  void tell(const char* what, bool accumulate) const {
    std::fprintf(stderr, "  %s: %lld -> %lld, side %lld, truncate %d, fold %d, accumulate %d\n", what,
                 static_cast<long long>(plan.inFeatures), static_cast<long long>(plan.outFeatures),
                 static_cast<long long>(plan.side), plan.truncate, plan.foldOutput, accumulate);
  }
};

void checkSections(const SectionPlan& plan) {
  Case of(plan, plan.side);
  Loops loops;
  of.checkRows("y", of.y, plan.outFeatures, [&](const TensorDesc& y, bool accumulate) {
    multiplySections(loops, plan, of.x.desc, of.folded.desc, y, accumulate);
  });
  of.checkRows("dX", of.dX, plan.inFeatures, [&](const TensorDesc& dX, bool accumulate) {
    multiplySectionsTransposed(loops, plan, of.dY.desc, of.folded.desc, dX, accumulate);
  });
  const TensorDesc gradient = distinctGradient(loops, plan, of.dY.desc, DType::f32);
  for (const bool accumulate : {false, true}) {
    Folded gradients(plan, plan.side, kUnwritten);
    std::vector<float> before(of.dM.size());
    for (float& value : before) value = accumulate ? static_cast<float>(between(-4, 4)) : 0;
    if (accumulate) std::copy(before.begin(), before.end(), gradients.values.begin());
    multiplySectionGradients(loops, plan, of.x.desc, gradient, gradients.desc, accumulate);
    of.checkMatrices("dM", gradients, before);
  }
}

void checkWindows(const SectionPlan& plan) {
  Case of(plan, windowSide(plan));
  Loops loops;
  of.checkRows("y by windows", of.y, plan.outFeatures, [&](const TensorDesc& y, bool accumulate) {
    multiplyWindows(loops, plan, of.x.desc, of.folded.desc, y, accumulate);
  });
  of.checkRows("dX by windows", of.dX, plan.inFeatures, [&](const TensorDesc& dX, bool accumulate) {
    multiplyWindowsTransposed(loops, plan, of.dY.desc, of.folded.desc, dX, accumulate);
  });
  Folded gradients(plan, windowSide(plan), kUnwritten);
  multiplyWindowGradients(loops, plan, of.x.desc, of.dY.desc, gradients.desc);
  of.checkMatrices("dM by windows", gradients, std::vector<float>(of.dM.size()));
}

void products() {
  for (int i = 0; i < 600; ++i) {
    // Windows need widths of whole cells.
    const int64_t cell = i % 2 == 0 ? 1 : kCell, k = cell * between(1, 40 / cell), d = cell * between(1, 40 / cell);
    const int64_t side = i % 3 == 0 ? between(1, 6) : i % 3 == 1 ? between(1, 40) : between(2 * k, 3 * k + 3);
    for (const auto& [truncate, fold] : {std::pair{0, 0}, {1, 0}, {0, 1}}) {
      const SectionPlan plan{k, d, side, 0, truncate, fold};
      checkSections(plan);
      if (cell == kCell) checkWindows(plan);
    }
  }
}

/// Counts products: dead or superfluous ones would not change the results.
void productsAreFew() {
  struct Counting : Loops {
    int products = 0, zeros = 0, copies = 0;
    void matmul(const TensorDesc&, bool, const TensorDesc&, bool, const TensorDesc&, bool) { ++products; }
    void zero(const TensorDesc&) { ++zeros; }
    void groupSpread(const Grouping&, const TensorDesc&, const TensorDesc&, bool) { ++copies; }
  };
  // Two complete sections of 8, and one of 4 inputs continued by the start of x; 24 outputs, three times, and 16 more.
  const SectionPlan plan{20, 88, 8, 0, 0, 0};
  Case of(plan, plan.side);
  CHECK(repeatsOf(plan) == 4);
  Counting once, adding, back, gradients;
  multiplySections(once, plan, of.x.desc, of.folded.desc, of.dY.desc, false);
  CHECK(once.products == 3 && once.zeros == 0 && once.copies == 1);
  multiplySections(adding, plan, of.x.desc, of.folded.desc, of.dY.desc, true);
  CHECK(adding.products == 3 * 3 + 1 && adding.copies == 0);
  multiplySectionsTransposed(back, plan, of.dY.desc, of.folded.desc, of.x.desc, false);
  CHECK(back.products == 3 && back.zeros == 0 && back.memory.size() == 1);
  const TensorDesc gradient = distinctGradient(gradients, plan, of.dY.desc, DType::f32);
  CHECK(gradient.shape[1] == 24);
  multiplySectionGradients(gradients, plan, of.x.desc, gradient, of.folded.desc, false);
  CHECK(gradients.products == 3 && gradients.zeros == 0);

  // Without repeats the gradient is dY itself, unless another dtype is wanted.
  const SectionPlan whole{16, 16, 8, 0, 0, 0};
  Case plain(whole, whole.side);
  Loops loops;
  Counting together;
  multiplySections(together, whole, plain.x.desc, plain.folded.desc, plain.dY.desc, false);
  multiplyWindows(together, whole, plain.x.desc, plain.folded.desc, plain.dY.desc, false);
  multiplyWindowsTransposed(together, whole, plain.dY.desc, plain.folded.desc, plain.x.desc, false);
  multiplyWindowGradients(together, whole, plain.x.desc, plain.dY.desc, plain.folded.desc);
  const SectionPlan square{16, 16, 16, 0, 1, 0};
  Case cut(square, square.side);
  multiplyWindowGradients(together, square, cut.x.desc, cut.dY.desc, cut.folded.desc);
  CHECK(together.products == 5 && together.zeros == 0 && together.copies == 0);
  CHECK(distinctGradient(loops, whole, plain.dY.desc, DType::f32).data == plain.dY.desc.data);
  CHECK(distinctGradient(loops, {16, 16, 8, 0, 1, 0}, plain.dY.desc, DType::f32).data == plain.dY.desc.data);
  CHECK(loops.memory.empty());
}

}  // namespace

int main() {
  products();
  productsAreFew();
  return mora::test::finish();
}
