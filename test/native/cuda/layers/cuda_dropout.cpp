// Dropout of CUDA in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {1, 1003}, {0, 8}, {3, 0}};

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes)
    for (const float probability : {0.0f, 0.1f, 0.7f}) {
      const DropoutKey key{{0xdeadbeef, 17}, probability};
      Values rowKeys = integers(shape[0], 1 << 30, 2);
      for (double& rowKey : rowKeys) rowKey *= 4097;  // beyond 32 bits
      const Operand x = reads(shape, 1), keys = fixed(DType::i64, {shape[0]}, rowKeys);
      const auto apart = expectAlike(
          "dropout", {x, keys, output(shape)},
          [&](const Views& t) { cuda::dropout(test.context, t[0], t[1], key, t[2]); }, kExact);
      const auto inPlace = expectAlike(
          "dropout in place", {x.overwritten(), keys},
          [&](const Views& t) { cuda::dropout(test.context, t[0], t[1], key, t[0]); }, kExact);
      CHECK(inPlace[0] == apart[2]);
    }
  return finish();
}
