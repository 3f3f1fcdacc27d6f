// Rotary position embedding of CUDA in every float type and layout, and invalid positions.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Case {
  Shape shape;      // tokens, heads, elements
  int64_t rotated;  // the first elements of a head
};
const Case kCases[] = {{{1, 1, 2}, 2},     {{3, 2, 6}, 6},   {{5, 3, 64}, 64}, {{7, 9, 80}, 80},
                       {{2, 1, 256}, 256}, {{0, 2, 8}, 8},   {{3, 0, 8}, 8},   {{5, 3, 64}, 32},
                       {{4, 2, 7}, 4},     {{2, 2, 80}, 34}, {{3, 2, 6}, 0}};
constexpr int64_t kPositions = 19;

void reportsPositions(TestContext& test) {
  const Values x = normal(DType::f32, 3 * 8, 3), ones(2 * 4, 1);
  const DeviceTensor deviceX(DType::f32, {3, 1, 8}, x), positions(DType::i32, {3}, {0, 1, 2});
  const DeviceTensor table(DType::f32, {2, 4}, ones);
  cuda::rope(test.context, deviceX, positions, table, table, false);
  const Values rotated = deviceX.get();
  CHECK(std::equal(x.begin() + 16, x.end(), rotated.begin() + 16));
  const cuda::DeviceReport report = test.takeReport();
  CHECK(report.operation == static_cast<int32_t>(mora::Operation::rope));
  CHECK(report.position == 2 && report.value == 2 && report.limit == 2);
}

}  // namespace

int main() {
  TestContext test;
  for (const auto& [shape, rotated] : kCases)
    for (const bool inverse : {false, true}) {
      const Operand positions = fixed(DType::i32, {shape[0]}, integers(shape[0], kPositions, 2));
      const auto table = [&](unsigned seed) { return reads({kPositions, rotated / 2}, seed).as(DType::f32).dense(); };
      expectAlike("rope", {changes(shape, 1), positions, table(3), table(4)},
                  [&](const Views& t) { cuda::rope(test.context, t[0], t[1], t[2], t[3], inverse); });
    }
  reportsPositions(test);
  return finish();
}
