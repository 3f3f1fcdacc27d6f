// The plan of section products and the groupings against their definitions, over thousands of random shapes.
#include "mora/geometry.h"

#include <algorithm>
#include <random>
#include <vector>

#include "check.h"

using mora::Grouping;
using mora::GroupKind;
using mora::SectionPlan;
using mora::SectionProduct;

namespace {

std::mt19937_64 random64(5);

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random64); }

/// Integers, so that sums are exact.
std::vector<int64_t> randomSections(const SectionPlan& plan) {
  std::vector<int64_t> folded(static_cast<size_t>(plan.sections() * plan.side * plan.side));
  for (int64_t& value : folded) value = between(-1000, 1000);
  return folded;
}

/// Outputs before repetition [distinct, k] by the definition: x is continued by itself and cut into sections, and
/// results are concatenated and cut at d (or folded onto the outputs before d). Paper, Eq. 4, 8 and 9.
std::vector<int64_t> deltaByDefinition(const SectionPlan& plan, const std::vector<int64_t>& folded) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side;
  std::vector<int64_t> delta(static_cast<size_t>(d * k));
  for (int64_t position = 0; position < plan.sections() * R; ++position) {
    if (position >= d && !plan.foldOutput) break;
    for (int64_t column = 0; column < R; ++column) {
      const int64_t input = position / R * R + column;
      if (plan.truncate && input >= k) continue;
      delta[static_cast<size_t>(position % d * k + input % k)] += folded[static_cast<size_t>(position * R + column)];
    }
  }
  return delta;
}

/// The outputs by the plan's products; checks that each stays within its operands.
std::vector<int64_t> deltaByProducts(const SectionPlan& plan, const std::vector<int64_t>& folded) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side;
  std::vector<int64_t> delta(static_cast<size_t>(d * k)), firsts(static_cast<size_t>(d));
  mora::visitSectionProducts(plan, [&](const SectionProduct& product) {
    bool inside = product.count > 0 && product.rows > 0 && product.depth > 0;
    inside = inside && product.section >= 0 && product.section + product.count <= plan.liveSections();
    inside = inside && product.row >= 0 && product.row + product.rows <= R;
    inside = inside && product.column >= 0 && product.column + product.depth <= R;
    inside = inside && product.output >= 0 && product.output + (product.count - 1) * R + product.rows <= d;
    inside = inside && product.input >= 0 && product.input + (product.count - 1) * R + product.depth <= k;
    if (!CHECK(inside)) return;
    for (int64_t i = 0; i < product.count; ++i)
      for (int64_t r = 0; r < product.rows; ++r) {
        const int64_t output = product.output + i * R + r;
        // The first product of an output overwrites; the others add to it.
        CHECK(firsts[static_cast<size_t>(output)] == (product.first ? 0 : 1));
        firsts[static_cast<size_t>(output)] = 1;
        for (int64_t c = 0; c < product.depth; ++c) {
          const int64_t at = ((product.section + i) * R + product.row + r) * R + product.column + c;
          delta[static_cast<size_t>(output * k + product.input + i * R + c)] += folded[static_cast<size_t>(at)];
        }
      }
  });
  const int64_t reached = plan.truncate ? std::min(R, d) : plan.distinctOutputs();
  for (int64_t output = 0; output < d; ++output) CHECK(firsts[static_cast<size_t>(output)] == (output < reached));
  return delta;
}

void checkPlan(const SectionPlan& plan) {
  const std::vector<int64_t> folded = randomSections(plan);
  const bool equal = deltaByDefinition(plan, folded) == deltaByProducts(plan, folded);
  if (!CHECK(equal))
    std::fprintf(stderr, "  %lld -> %lld, side %lld, truncate %d, fold %d\n", static_cast<long long>(plan.inFeatures),
                 static_cast<long long>(plan.outFeatures), static_cast<long long>(plan.side), plan.truncate,
                 plan.foldOutput);
}

void plans() {
  for (int i = 0; i < 4000; ++i) {
    const int64_t k = between(1, 40), d = between(1, 40);
    // Sides that are small, about the size of the layer, and more than twice the inputs.
    const int64_t side = i % 3 == 0 ? between(1, 6) : i % 3 == 1 ? between(1, 40) : between(2 * k, 3 * k + 3);
    for (const auto& [truncate, fold] : {std::pair{0, 0}, {1, 0}, {0, 1}}) checkPlan({k, d, side, 0, truncate, fold});
  }
}

void deadSectionsAreNotLive() {
  const SectionPlan cut{100, 20, 8, 1, 0, 0};
  CHECK(cut.sections() == 13);
  CHECK(cut.liveSections() == 3);
  CHECK(cut.distinctOutputs() == 20);
  const SectionPlan folded{100, 20, 8, 1, 0, 1};
  CHECK(folded.liveSections() == 13);
  const SectionPlan repeated{20, 100, 8, 1, 0, 0};
  CHECK(repeated.liveSections() == 3);

  const SectionPlan oneInputMore{21, 100, 10, 1, 0, 0}, oneInputLess{19, 100, 10, 1, 0, 0};
  CHECK(oneInputMore.sections() == 3);
  CHECK(oneInputLess.sections() == 2);
  const SectionPlan wholeOutputs{50, 20, 10, 1, 0, 0}, oneOutputMore{50, 21, 10, 1, 0, 0};
  CHECK(wholeOutputs.liveSections() == 2);
  CHECK(oneOutputMore.liveSections() == 3);
  CHECK(repeated.distinctOutputs() == 24);
}

void groupings() {
  for (int i = 0; i < 2000; ++i) {
    const int64_t width = between(1, 60), side = between(1, 70);
    const Grouping runs{GroupKind::runs, 0, width, side};
    CHECK(runs.extent() == width);
    CHECK(runs.runStart(0) == 0);
    CHECK(runs.runStart(side) == width);
    for (int64_t g = 0; g < side; ++g) {
      const int64_t length = runs.runStart(g + 1) - runs.runStart(g);
      CHECK(length == width / side + (g < width % side ? 1 : 0));
      for (int64_t c = runs.runStart(g); c < runs.runStart(g + 1); ++c) CHECK(runs.groupOf(c) == g);
    }
    const Grouping tile{GroupKind::tile, 1, width, side}, cut{GroupKind::tile, 0, width, side};
    CHECK(cut.extent() == width);
    CHECK(tile.extent() % side == 0);
    CHECK(tile.extent() >= width && tile.extent() < width + side);
    for (int64_t c = 0; c < tile.extent(); ++c) CHECK(tile.groupOf(c) == c % side);
  }
}

}  // namespace

int main() {
  plans();
  deadSectionsAreNotLive();
  groupings();
  return mora::test::finish();
}
