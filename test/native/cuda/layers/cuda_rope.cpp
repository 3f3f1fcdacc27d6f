// Rotary position embedding of CUDA against float64, back and forth.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t tokens, heads, width, rotated;  // the first elements of a head
};
const Size kSizes[] = {{1, 1, 2, 2}, {3, 2, 6, 6},   {5, 3, 64, 64}, {7, 9, 80, 80}, {2, 1, 256, 256}, {0, 2, 8, 8},
                       {3, 0, 8, 8}, {5, 3, 64, 32}, {4, 2, 7, 4},   {2, 2, 80, 34}, {3, 2, 6, 0}};
constexpr int64_t kPositions = 19;

void rotates(cuda::Context& context, DType type, Size size, Layout layout) {
  const auto [tokens, heads, width, rotated] = size;
  const int64_t half = rotated / 2;
  const auto index = [](int64_t i) { return static_cast<size_t>(i); };
  const Values x = normal(type, tokens * heads * width, 1), positions = integers(tokens, kPositions, 2);
  Values cosines(index(kPositions * half)), sines = cosines, expected = x;
  for (int64_t i = 0; i < kPositions * half; ++i) {
    const double angle = static_cast<double>(i / half) * std::pow(100.0, -static_cast<double>(i % half) / half);
    cosines[index(i)] = rounded(DType::f32, std::cos(angle));
    sines[index(i)] = rounded(DType::f32, std::sin(angle));
  }
  for (int64_t i = 0; i < tokens * heads; ++i)
    for (int64_t j = 0; j < half; ++j) {
      const size_t angle = index(static_cast<int64_t>(positions[index(i / heads)]) * half + j);
      const double first = x[index(i * width + j)], second = x[index(i * width + half + j)];
      expected[index(i * width + j)] = first * cosines[angle] - second * sines[angle];
      expected[index(i * width + half + j)] = second * cosines[angle] + first * sines[angle];
    }
  const DeviceTensor deviceX(type, {tokens, heads, width}, x, layout), devicePositions(DType::i32, {tokens}, positions);
  const DeviceTensor deviceCosines(DType::f32, {kPositions, half}, cosines);
  const DeviceTensor deviceSines(DType::f32, {kPositions, half}, sines);
  cuda::rope(context, deviceX, devicePositions, deviceCosines, deviceSines, false);
  CHECK(close("rope", type, deviceX.get(), expected));
  cuda::rope(context, deviceX, devicePositions, deviceCosines, deviceSines, true);
  CHECK(close("rope turned back", type, deviceX.get(), x, type == DType::f32 ? 1e-6 : 0x1p-7));
}

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
  for (const DType type : kFloats)
    for (const Size size : kSizes)
      for (const Layout layout : kLayouts) rotates(test.context, type, size, layout);
  reportsPositions(test);
  return finish();
}
