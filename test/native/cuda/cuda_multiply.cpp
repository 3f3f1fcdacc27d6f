// multiply of CUDA against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {33, 64}, {70, 264}, {200, 5}, {0, 8}, {4, 0}};

void multiplies(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const auto [rows, columns] : kSizes)
      for (const Layout layout : kLayouts)
        for (const bool accumulate : {false, true}) {
          const int64_t count = rows * columns;
          const Values a = normal(type, count, 1), b = normal(DType::f32, count, 2),
                       before = normal(DType::f32, count, 3);
          const DeviceTensor deviceA(type, {rows, columns}, a, layout);
          const DeviceTensor deviceB(DType::f32, {rows, columns}, b, layout);
          const DeviceTensor target(DType::f32, {rows, columns}, before, layout);
          Values expected = accumulate ? before : Values(before.size());
          for (size_t i = 0; i < a.size(); ++i) expected[i] += -0.5 * a[i] * b[i];
          cuda::multiply(context, deviceA, deviceB, target, -0.5f, accumulate);
          CHECK(close("multiply", DType::f32, target.get(), expected));
        }
}

}  // namespace

int main() {
  TestContext test;
  multiplies(test.context);
  return finish();
}
