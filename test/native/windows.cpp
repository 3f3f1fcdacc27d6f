// The products in aligned windows against the definition of the section operators, over thousands of random shapes.
#include "mora/windows.h"

#include <array>
#include <random>
#include <vector>

#include "check.h"

using namespace mora;

namespace {

using Integers = std::vector<int64_t>;

std::mt19937_64 random64(6);

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random64); }

/// A plan, the width of its products' outputs, and folded matrices of integers, so that sums are exact.
struct Case {
  SectionPlan plan;
  int64_t outputs, window;
  Integers folded;  // [n, W, W]

  explicit Case(const SectionPlan& of) : plan(of), outputs(of.outFeatures), window(windowSide(of)) {
    const bool repeats = !plan.truncate && plan.distinctOutputs() < plan.outFeatures;
    if (repeats) outputs = cellEnd(plan.distinctOutputs());
    folded.assign(static_cast<size_t>(plan.liveSections() * window * window), 0);
    for (int64_t position = 0; position < plan.liveSections() * plan.side; ++position)
      for (int64_t column = 0; column < plan.side; ++column) folded[at(position, column)] = between(-1000, 1000);
  }

  /// The index in the folded matrices of a column of row `position` of all sections.
  size_t at(int64_t position, int64_t column) const {
    const int64_t section = position / plan.side, offset = windowOffset(plan.side, window, section);
    const int64_t row = section * window + offset + position % plan.side;
    return static_cast<size_t>(row * window + offset + column);
  }
};

/// Outputs before repetition [outputs, k] by the definition (paper, Eq. 4, 8 and 9): x is continued by itself and cut
/// into sections, and results are concatenated and cut at d (or folded onto the outputs before d).
Integers deltaByDefinition(const Case& of) {
  const auto [k, d, R] = std::array{of.plan.inFeatures, of.plan.outFeatures, of.plan.side};
  Integers delta(static_cast<size_t>(of.outputs * k));
  for (int64_t position = 0; position < of.plan.liveSections() * R; ++position) {
    if (position >= d && !of.plan.foldOutput) break;
    for (int64_t column = 0; column < R; ++column) {
      const int64_t input = position / R * R + column;
      if (of.plan.truncate && input >= k) continue;
      delta[static_cast<size_t>(position % d * k + input % k)] += of.folded[of.at(position, column)];
    }
  }
  return delta;
}

/// Counts writes: a first product must write where nothing was written, another one where something was, and the
/// products of a batch to different places.
class Writes {
 public:
  explicit Writes(int64_t length) : writes_(static_cast<size_t>(length)) {}

  void add(const SectionProduct& product, int64_t begin, int64_t width, int64_t side) {
    const Integers before = writes_;
    for (int64_t i = 0; i < product.count; ++i)
      for (int64_t at = begin + i * product.step * side, end = at + width; at < end; ++at) {
        const auto index = static_cast<size_t>(at);
        CHECK((before[index] > 0) != product.first);
        CHECK(++writes_[index] == before[index] + 1);
      }
  }
  void checkReached(int64_t end) const {
    for (size_t i = 0; i < writes_.size(); ++i) CHECK((writes_[i] > 0) == (static_cast<int64_t>(i) < end));
  }

 private:
  Integers writes_;
};

bool inside(const Case& of, const SectionProduct& product) {
  const int64_t last = (product.count - 1) * product.step;
  return product.count > 0 && product.rows > 0 && product.depth > 0 && product.section >= 0 &&
         product.section + last < of.plan.liveSections() && product.row >= 0 &&
         product.row + product.rows <= of.window && product.column >= 0 &&
         product.column + product.depth <= of.window && product.output >= 0 &&
         product.output + last * of.plan.side + product.rows <= of.outputs && product.input >= 0 &&
         product.input + last * of.plan.side + product.depth <= of.plan.inFeatures;
}

bool aligned(const Case& of, const SectionProduct& product) {
  const int64_t stride = product.count > 1 ? product.step * of.plan.side : 0;
  for (const int64_t number :
       {product.output, product.rows, product.row, product.input, product.depth, product.column, stride})
    if (number % kCell != 0) return false;
  return true;
}

void checkProducts(const Case& of, Written written) {
  const int64_t k = of.plan.inFeatures, R = of.plan.side, live = of.plan.liveSections();
  Integers delta(static_cast<size_t>(of.outputs * k)), used(of.folded.size());
  Writes outputs(of.outputs), inputs(k);
  for (const SectionProduct& product : windowProducts(of.plan, of.outputs, written)) {
    if (!CHECK(inside(of, product))) return;
    if (k % kCell == 0 && of.outputs % kCell == 0) CHECK(aligned(of, product));
    if (written == Written::outputs) outputs.add(product, product.output, product.rows, R);
    if (written == Written::inputs) inputs.add(product, product.input, product.depth, R);
    if (written == Written::matrices) CHECK(product.first);
    for (int64_t i = 0; i < product.count; ++i)
      for (int64_t r = 0; r < product.rows; ++r)
        for (int64_t c = 0; c < product.depth; ++c) {
          const int64_t ahead = i * product.step, row = (product.section + ahead) * of.window + product.row + r;
          const auto at = static_cast<size_t>(row * of.window + product.column + c);
          const int64_t output = product.output + ahead * R + r, input = product.input + ahead * R + c;
          delta[static_cast<size_t>(output * k + input)] += of.folded[at];
          ++used[at];
        }
  }
  const bool equal = delta == deltaByDefinition(of);
  if (!CHECK(equal))
    std::fprintf(stderr, "  %lld -> %lld, side %lld, truncate %d, fold %d\n", static_cast<long long>(k),
                 static_cast<long long>(of.plan.outFeatures), static_cast<long long>(R), of.plan.truncate,
                 of.plan.foldOutput);
  if (written == Written::outputs)
    outputs.checkReached(of.plan.truncate ? std::min(cellEnd(R), of.outputs) : of.outputs);
  if (written == Written::inputs) inputs.checkReached(std::min(cellEnd(live * R), k));
  if (written == Written::matrices)
    CHECK(std::none_of(used.begin(), used.end(), [](int64_t uses) { return uses > 1; }));
}

void products() {
  for (int i = 0; i < 1500; ++i) {
    // Half of them have widths of whole cells, as windows expect; others must be exact too.
    const int64_t cell = i % 2 == 0 ? kCell : 1, k = cell * between(1, 96 / cell), d = cell * between(1, 96 / cell);
    const int64_t side = i % 3 == 0 ? between(1, 12) : i % 3 == 1 ? between(1, 60) : between(2 * k, 3 * k + 3);
    for (const auto& [truncate, fold] : {std::pair{0, 0}, {1, 0}, {0, 1}}) {
      const Case of({k, d, side, 0, truncate, fold});
      for (const Written written : {Written::outputs, Written::inputs, Written::matrices}) checkProducts(of, written);
    }
  }
}

/// Folded matrices are stored in windows, which are as wide as the cells that some live section touches.
void windowsAreNarrow() {
  for (int64_t side = 1; side <= 40; ++side)
    for (int64_t sections = 1; sections <= 2 * kCell; ++sections) {
      int64_t widest = 0;
      for (int64_t section = 0; section < sections; ++section)
        widest = std::max(widest, ((section + 1) * side - 1) / kCell - section * side / kCell + 1);
      CHECK(windowSide({sections * side, sections * side, side, 0, 0, 0}) == widest * kCell);
    }
}

/// 4096 -> 11008 at rank 8: twelve sections of 348, every second of which starts in the middle of a cell.
void batchesAreFew() {
  const SectionPlan plan{4096, 11008, 348, 1, 0, 0};
  CHECK(windowSide(plan) == 352);
  const auto products = windowProducts(plan, cellEnd(plan.distinctOutputs()), Written::outputs);
  // Even sections; odd ones but the last, whose inputs continue at the start of x: two; the cells that neighbours
  // share.
  CHECK(products.size() == 5);
  int64_t multiplications = 0;
  for (const SectionProduct& product : products) multiplications += product.count * product.rows * product.depth;
  CHECK(static_cast<double>(multiplications) < 1.03 * 12 * 348 * 348);
  // If all outputs end at d, nothing is folded: no product computes the last cell's columns past d.
  CHECK(windowProducts({12, 12, 6, 0, 0, 1}, 12, Written::outputs).size() ==
        windowProducts({12, 12, 6, 0, 0, 0}, 12, Written::outputs).size());
}

}  // namespace

int main() {
  products();
  windowsAreNarrow();
  batchesAreFew();
  return mora::test::finish();
}
