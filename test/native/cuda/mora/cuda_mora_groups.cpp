// Sums over groups, their transpose, and merging on the device, in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

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

void isAlike(cuda::Context& context, const Grouping& grouping, int64_t rows, bool accumulate) {
  const Shape wide{rows, grouping.width}, narrow{rows, grouping.side};
  const std::string name = describe(grouping);
  expectAlike(
      "groupSum of " + name, {reads(wide, 1), outputOr(accumulate, narrow, 2)},
      [&](const Views& t) { cuda::groupSum(context, grouping, t[0], t[1], accumulate); }, 1e-5, Layouts::inTurn);
  expectAlike(
      "groupSpread of " + name, {reads(narrow, 3), outputOr(accumulate, wide, 4)},
      [&](const Views& t) { cuda::groupSpread(context, grouping, t[0], t[1], accumulate); }, 1e-6, Layouts::inTurn);
}

void mergeGroups(cuda::Context& context) {
  const std::pair<Grouping, Grouping> pairs[] = {
      {{GroupKind::tile, 1, 67, 16}, {GroupKind::tile, 0, 35, 16}},
      {{GroupKind::tile, 1, 64, 20}, {GroupKind::runs, 0, 57, 20}},
      {{GroupKind::runs, 0, 72, 34}, {GroupKind::runs, 0, 20, 34}},
      {{GroupKind::runs, 0, 37, 5}, {GroupKind::tile, 0, 13, 5}},
      {{GroupKind::tile, 1, 8, 40}, {GroupKind::tile, 0, 9, 40}},
  };
  for (const auto& [input, output] : pairs) {
    Operand weight = changes({output.width, input.width}, 5);
    weight.values.back() = INFINITY;
    const Operand matrix = reads({output.side, input.side}, 6).as(DType::f32).dense();
    const auto merge = [&, from = input, to = output](const Views& t) {
      cuda::mergeGroups(context, from, to, t[1], -0.5f, t[0], t[2]);
    };
    const auto merged = expectAlike("mergeGroups of " + describe(input) + " and " + describe(output),
                                    {weight, matrix, fixed(DType::i32, {1}, {2}).overwritten()}, merge);
    CHECK(merged[2] == Values{3});
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
  for (const Grouping& grouping : kGroupings)
    for (const int64_t rows : {0, 1, 7})
      for (const bool accumulate : {false, true}) isAlike(test.context, grouping, rows, accumulate);
  mergeGroups(test.context);
  overflowIsCounted(test.context);
  return finish();
}
