// Rotation, decoupling and truncation on the device against their definition in float64: x is continued by itself and
// cut into sections, each is multiplied by M R_b, and results are concatenated, then tiled or cut at d (or folded onto
// the first outputs).
#include "core/math/section_operations.h"
#include "cuda/products/products.h"
#include "cuda/runtime/devices.h"
#include "cuda_section_plans.h"

using namespace mora;
using namespace mora::test;

namespace {

// Halves that are multiples of 8, 4, 2 and 1; complete and partial sections; repeated and cut outputs; R = k and
// beyond.
const SectionPlan kPlans[] = {
    planOf(48, 48, 16, Kind::rotate),  planOf(13, 11, 4, Kind::rotate),    planOf(13, 45, 4, Kind::rotate),
    planOf(40, 11, 6, Kind::rotate),   planOf(24, 50, 8, Kind::rotate),    planOf(5, 17, 8, Kind::rotate),
    planOf(3, 10, 8, Kind::rotate),    planOf(3, 5, 10, Kind::rotate),     planOf(1, 1, 2, Kind::rotate),
    planOf(13, 45, 5, Kind::decouple), planOf(17, 9, 7, Kind::decouple),   planOf(2, 3, 7, Kind::decouple),
    planOf(9, 14, 5, Kind::truncate),  planOf(3, 4, 7, Kind::truncate),    planOf(9, 3, 5, Kind::truncate),
    planOf(13, 5, 4, Kind::fold),      planOf(40, 11, 6, Kind::fold),      planOf(13, 45, 4, Kind::fold),
    planOf(7, 3, 10, Kind::fold),      planOf(190, 134, 36, Kind::rotate), planOf(72, 120, 20, Kind::rotate),
};

/// Counts the operations of a plan.
struct CountingOperations {
  int64_t multiplications = 0, copies = 0, sums = 0;

  void matmul(const TensorDesc& a, bool transposeA, const TensorDesc&, bool, const TensorDesc& c, bool) {
    multiplications += c.shape[0] * c.shape[1] * c.shape[2] * a.shape[transposeA ? 1 : 2];
  }
  void zero(const TensorDesc&) {}
  void groupSum(const Grouping&, const TensorDesc&, const TensorDesc&) { ++sums; }
  void groupSpread(const Grouping&, const TensorDesc&, const TensorDesc&, bool) { ++copies; }
  void* scratch(size_t) { return nullptr; }
};

/// Dead sections and repeated outputs are not computed: outputs are copied, and their gradients summed, once.
void doesNothingTwice(const SectionPlan& plan) {
  if (plan.truncate || plan.foldOutput) return;
  constexpr int64_t T = 3;
  const int64_t k = plan.inFeatures, d = plan.outFeatures, n = plan.liveSections(), R = plan.side;
  const int64_t needed = T * plan.distinctOutputs() * R, repeats = d > plan.distinctOutputs() ? 1 : 0;
  const TensorDesc x{nullptr, DType::f32, 2, {T, k}, {k, 1}}, y{nullptr, DType::f32, 2, {T, d}, {d, 1}};
  const TensorDesc folded{nullptr, DType::f32, 3, {n, R, R}, {R * R, R, 1}};
  CountingOperations forward, input, weight;
  multiplySections(forward, plan, x, folded, y, false);
  CHECK(forward.multiplications == needed && forward.copies == repeats);
  multiplySectionsTransposed(input, plan, y, folded, x, false);
  CHECK(input.multiplications == needed && input.sums == repeats);
  multiplySectionGradients(weight, plan, x, distinctGradient(weight, plan, y, y.dtype), folded, false);
  CHECK(weight.multiplications == needed && weight.sums == repeats);
}

void merges(cuda::Context& context, const SectionPlan& plan) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, n = plan.liveSections(), R = plan.side;
  const Values folded = normal(DType::f32, n * R * R, 9);
  const DeviceTensor sections(DType::f32, {n, R, R}, folded);
  for (const DType type : kFloats)
    for (const Layout& layout : kLayouts) {
      Values weight = normal(type, d * k, 10);
      weight[0] = weight.back() = -INFINITY;
      const DeviceTensor on(type, {d, k}, weight, layout), nonFinite(DType::i32, {1}, {5});
      std::vector<bool> reached(weight.size());
      forTerms(plan, [&](int64_t output, int64_t input, size_t at) {
        const auto index = static_cast<size_t>(output * k + input);
        weight[index] += 0.25 * folded[at];
        reached[index] = true;
      });
      double infinite = 0;  // where sections reach
      for (size_t i = 0; i < weight.size(); ++i) infinite += reached[i] && std::isinf(weight[i]) ? 1 : 0;
      cuda::mergeSections(context, plan, sections, 0.25f, on, nonFinite);
      CHECK(close("mergeSections, " + describe(plan), type, on.get(), weight));
      CHECK(nonFinite.get() == Values{5.0 + infinite});
    }
  Values weight = normal(DType::f32, d * k, 11);
  const DeviceTensor on(DType::f32, {d, k}, weight);
  forTerms(plan, [&](int64_t output, int64_t input, size_t at) {
    weight[static_cast<size_t>(output * k + input)] -= folded[at];
  });
  cuda::mergeSections(context, plan, sections, -1, on, TensorDesc{});
  CHECK(close("mergeSections without a count, " + describe(plan), DType::f32, on.get(), weight));
}

}  // namespace

int main() {
  TestContext test;
  void* const workspace = test.context.kept({0, 0, 0}, cuda::Products::kWorkspace).data;
  test.context.products =
      new cuda::Products(cuda::cublas(), cuda::startCublas().handle, test.context.stream, workspace);
  int index = 0;
  for (const SectionPlan& plan : kPlans) {
    folds(test.context, plan, plan.side);
    for (const bool accumulate : {false, true}) unfolds(test.context, plan, plan.side, accumulate);
    doesNothingTwice(plan);
    merges(test.context, plan);
    for (const DType type : kFloats)
      for (const int64_t tokens : {0, 1, 5}) {
        ++index;
        multiplies(test.context, plan, plan.side, {type, tokens, index % 2 == 0, kLayouts[index % 3]});
        multiplies(test.context, plan, plan.side, {type, tokens, index % 2 == 1, kLayouts[(index + 1) % 3]});
      }
  }
  return finish();
}
