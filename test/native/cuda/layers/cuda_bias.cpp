// addBias and columnSums of CUDA in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {33, 64}, {70, 264}, {200, 5}, {0, 8}, {4, 0}};

}  // namespace

int main() {
  TestContext test;
  cuda::Context& context = test.context;
  for (const Shape& shape : kShapes) {
    expectAlike(
        "addBias", {changes(shape, 1), reads({shape[1]}, 2).ofOtherType().dense()},
        [&](const Views& t) { cuda::addBias(context, t[1], t[0]); }, kExact);
    for (const bool accumulate : {false, true})
      expectAlike("columnSums", {reads(shape, 3), outputOr(accumulate, {shape[1]}, 4).as(DType::f32).dense()},
                  [&](const Views& t) { cuda::columnSums(context, t[0], t[1], accumulate); });
  }
  return finish();
}
