// Sums, counts and maxima of CUDA over whole tensors, in every float type, aligned and not.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

int main() {
  TestContext test;
  cuda::Context& context = test.context;
  for (const int64_t count : {0, 1, 7, 8192, 8195, 30001})
    for (const bool accumulate : {false, true}) {
      const Operand x = reads({count}, 1), number = fixed(DType::f32, {1}, {0.5}).overwritten();
      Operand damaged = reads({count}, 2);
      for (size_t i = 0; i < damaged.values.size(); i += 1001) damaged.values[i] = i % 2 ? NAN : -INFINITY;
      expectAlike("sum", {x, number}, [&](const Views& t) { cuda::sum(context, t[0], t[1], accumulate); });
      expectAlike("countNonFinite", {damaged, fixed(DType::i32, {1}, {5}).overwritten()},
                  [&](const Views& t) { cuda::countNonFinite(context, t[0], t[1], accumulate); });
      expectAlike("largestDifference", {x, reads({count}, 3).dense(), number},
                  [&](const Views& t) { cuda::largestDifference(context, t[0], t[1], t[2], accumulate); });
    }
  return finish();
}
