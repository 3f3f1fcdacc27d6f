// Sums over groups, their transpose, and merging on the device, against the definition of the groups in float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

std::string describe(const Grouping& grouping) {
  return std::string(grouping.kind == GroupKind::runs ? "runs "
                     : grouping.wrap                  ? "wrapped tiles "
                                                      : "tiles ") +
         std::to_string(grouping.width) + " to " + std::to_string(grouping.side);
}

// Sides that are multiples of 8, 4, 2 and 1, with complete and partial groups; one group; more groups than columns;
// runs of all lengths, also longer than a block stages.
const Grouping kGroupings[] = {
    {GroupKind::tile, 1, 1, 1},      {GroupKind::tile, 1, 64, 16},    {GroupKind::tile, 1, 67, 16},
    {GroupKind::tile, 0, 67, 16},    {GroupKind::tile, 1, 100, 12},   {GroupKind::tile, 0, 131, 34},
    {GroupKind::tile, 1, 131, 34},   {GroupKind::tile, 1, 97, 31},    {GroupKind::tile, 1, 5, 13},
    {GroupKind::tile, 0, 5, 13},     {GroupKind::tile, 1, 24, 64},    {GroupKind::tile, 1, 3, 40},
    {GroupKind::tile, 1, 1100, 348}, {GroupKind::runs, 0, 1, 1},      {GroupKind::runs, 0, 64, 16},
    {GroupKind::runs, 0, 67, 16},    {GroupKind::runs, 0, 97, 31},    {GroupKind::runs, 0, 5, 13},
    {GroupKind::runs, 0, 136, 64},   {GroupKind::runs, 0, 1100, 348}, {GroupKind::runs, 0, 500, 4},
    {GroupKind::runs, 0, 700, 3},    {GroupKind::runs, 0, 5000, 50},  {GroupKind::runs, 0, 4200, 2000},
};

/// Calls visit(column, group) for every virtual column.
template <typename Visit>
void forColumns(const Grouping& grouping, Visit&& visit) {
  for (int64_t c = 0; c < grouping.extent(); ++c) visit(c % grouping.width, grouping.groupOf(c));
}

struct Case {
  Grouping grouping;
  int64_t rows;
  DType type;
  Layout layout;
  bool accumulate;
};

/// Runs every grouping, alternating types and layouts so that each pair occurs.
template <typename Run>
void forCases(Run&& run) {
  int index = 0;
  for (const Grouping& grouping : kGroupings)
    for (const int64_t rows : {1, 7})
      for (int variant = 0; variant < 4; ++variant, ++index)
        run(Case{grouping, rows, kFloats[(index + index / 3) % 3], kLayouts[index % 3], index % 5 < 2});
}

void groupSum(cuda::Context& context) {
  forCases([&](const Case& of) {
    const auto [grouping, rows, type, layout, accumulate] = of;
    const int64_t width = grouping.width, side = grouping.side;
    const Values x = normal(type, rows * width, 1), before = normal(type, rows * side, 2);
    Values expected = accumulate ? before : Values(before.size(), 0);
    for (int64_t t = 0; t < rows; ++t)
      forColumns(grouping, [&](int64_t column, int64_t group) {
        expected[static_cast<size_t>(t * side + group)] += x[static_cast<size_t>(t * width + column)];
      });
    const DeviceTensor from(type, {rows, width}, x, layout), to(type, {rows, side}, before, layout);
    cuda::groupSum(context, grouping, from, to, accumulate);
    CHECK(close("groupSum of " + describe(grouping), type, to.get(), expected, 1e-5));
  });
}

void groupSpread(cuda::Context& context) {
  forCases([&](const Case& of) {
    const auto [grouping, rows, type, layout, accumulate] = of;
    const int64_t width = grouping.width, side = grouping.side;
    const Values z = normal(type, rows * side, 3), before = normal(type, rows * width, 4);
    Values expected = accumulate ? before : Values(before.size(), 0);
    for (int64_t t = 0; t < rows; ++t)
      forColumns(grouping, [&](int64_t column, int64_t group) {
        expected[static_cast<size_t>(t * width + column)] += z[static_cast<size_t>(t * side + group)];
      });
    const DeviceTensor from(type, {rows, side}, z, layout), to(type, {rows, width}, before, layout);
    cuda::groupSpread(context, grouping, from, to, accumulate);
    CHECK(close("groupSpread of " + describe(grouping), type, to.get(), expected));
  });
}

void nothingToDo(cuda::Context& context) {
  for (const GroupKind kind : {GroupKind::tile, GroupKind::runs}) {
    const Grouping grouping{kind, 0, 67, 16}, noColumns{kind, 0, 0, 3};
    const DeviceTensor wide(DType::f32, {0, 67}, {}), narrow(DType::f32, {0, 16}, {});
    cuda::groupSum(context, grouping, wide, narrow, false);
    cuda::groupSpread(context, grouping, narrow, wide, false);
    CHECK(narrow.get().empty() && wide.get().empty());
    const DeviceTensor empty(DType::f32, {2, 0}, {}), sums(DType::f32, {2, 3}, Values(6, 1));
    cuda::groupSpread(context, noColumns, sums, empty, false);
    cuda::groupSum(context, noColumns, empty, sums, false);
    CHECK(sums.get() == Values(6, 0));
  }
}

void mergeGroups(cuda::Context& context) {
  const std::pair<Grouping, Grouping> pairs[] = {
      {{GroupKind::tile, 1, 67, 16}, {GroupKind::tile, 0, 35, 16}},
      {{GroupKind::tile, 1, 64, 20}, {GroupKind::runs, 0, 57, 20}},
      {{GroupKind::runs, 0, 72, 34}, {GroupKind::runs, 0, 20, 34}},
      {{GroupKind::runs, 0, 37, 5}, {GroupKind::tile, 0, 13, 5}},
      {{GroupKind::tile, 1, 8, 40}, {GroupKind::tile, 0, 9, 40}},
  };
  for (const auto& [input, output] : pairs)
    for (const DType type : kFloats)
      for (const Layout& layout : kLayouts) {
        const int64_t k = input.width, d = output.width;
        Values weight = normal(type, d * k, 5);
        const Values matrix = normal(DType::f32, output.side * input.side, 6);
        weight[static_cast<size_t>(d * k - 1)] = INFINITY;
        const DeviceTensor on(type, {d, k}, weight, layout), from(DType::f32, {output.side, input.side}, matrix);
        const DeviceTensor nonFinite(DType::i32, {1}, {2});
        for (int64_t j = 0; j < d; ++j)
          forColumns(input, [&](int64_t column, int64_t group) {
            weight[static_cast<size_t>(j * k + column)] +=
                -0.5 * matrix[static_cast<size_t>(output.groupOf(j) * input.side + group)];
          });
        cuda::mergeGroups(context, input, output, from, -0.5f, on, nonFinite);
        CHECK(close("mergeGroups of " + describe(input) + " and " + describe(output), type, on.get(), weight));
        CHECK(nonFinite.get() == Values{3});
      }
}

void overflowIsCounted(cuda::Context& context) {
  const Grouping input{GroupKind::runs, 0, 16, 2}, output{GroupKind::tile, 0, 4, 2};
  const DeviceTensor weight(DType::f16, {4, 16}, Values(64, 60000)), nonFinite(DType::i32, {1}, {0});
  const DeviceTensor matrix(DType::f32, {2, 2}, {0, 10000, 0, 0});
  cuda::mergeGroups(context, input, output, matrix, 1, weight, nonFinite);
  CHECK(nonFinite.get() == Values{16});
}

}  // namespace

int main() {
  TestContext test;
  groupSum(test.context);
  groupSpread(test.context);
  nothingToDo(test.context);
  mergeGroups(test.context);
  overflowIsCounted(test.context);
  return finish();
}
