// multiply of CUDA in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {33, 64}, {70, 264}, {200, 5}, {0, 8}, {4, 0}};

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes)
    for (const bool accumulate : {false, true})
      expectAlike("multiply",
                  {reads(shape, 1), reads(shape, 2).as(DType::f32), outputOr(accumulate, shape, 3).as(DType::f32)},
                  [&](const Views& t) { cuda::multiply(test.context, t[0], t[1], t[2], -0.5f, accumulate); });
  return finish();
}
