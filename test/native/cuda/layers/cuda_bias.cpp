// addBias and columnSums of CUDA against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {33, 64}, {70, 264}, {200, 5}, {0, 8}, {4, 0}};

void addsBias(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const DType biasType : kFloats)
      for (const auto [rows, columns] : kSizes)
        for (const Layout layout : kLayouts) {
          const Values y = normal(type, rows * columns, 1), bias = normal(biasType, columns, 2);
          const DeviceTensor deviceY(type, {rows, columns}, y, layout), deviceBias(biasType, {columns}, bias);
          Values expected = y;
          for (size_t i = 0; i < y.size(); ++i) expected[i] += bias[i % static_cast<size_t>(columns)];
          cuda::addBias(context, deviceBias, deviceY);
          CHECK(close("addBias", type, deviceY.get(), expected));
        }
}

void sumsColumns(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const auto [rows, columns] : kSizes)
      for (const Layout layout : kLayouts)
        for (const bool accumulate : {false, true}) {
          const Values x = normal(type, rows * columns, 3), before = normal(DType::f32, columns, 4);
          const DeviceTensor deviceX(type, {rows, columns}, x, layout), sums(DType::f32, {columns}, before);
          Values expected = accumulate ? before : Values(before.size());
          for (size_t i = 0; i < x.size(); ++i) expected[i % static_cast<size_t>(columns)] += x[i];
          cuda::columnSums(context, deviceX, sums, accumulate);
          const Values first = sums.get();
          CHECK(close("columnSums", DType::f32, first, expected));
          sums.set(before);
          cuda::columnSums(context, deviceX, sums, accumulate);
          CHECK(sums.get() == first);
        }
}

}  // namespace

int main() {
  TestContext test;
  addsBias(test.context);
  sumsColumns(test.context);
  return finish();
}
