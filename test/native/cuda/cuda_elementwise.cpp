// elementwise, softmaxRows and softmaxRowsBackward of CUDA in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

Operand positive(const Shape& shape, unsigned seed) {
  Operand operand = reads(shape, seed);
  for (double& value : operand.values) value = std::max(std::abs(value), 0.5);
  return operand;
}

constexpr std::pair<Elementwise, const char*> kFunctions[] = {
#define MORA_ELEMENTWISE(name, operands) {Elementwise::name, #name},
#include "core/operations.def"
};

void evaluates(cuda::Context& context, int64_t count) {
  for (const auto& [function, name] : kFunctions)
    for (const bool accumulate : {false, true}) {
      const Elementwise f = function;
      const bool needsPositive = f == Elementwise::log || f == Elementwise::sqrt;
      const Operand a = needsPositive ? positive({count}, 1) : reads({count}, 1);
      expectAlike(std::string("elementwise ") + name, {a, positive({count}, 2), outputOr(accumulate, {count}, 3)},
                  [&](const Views& t) {
                    cuda::elementwise(context, f, t[0], takesTwo(f) ? t[1] : TensorDesc{}, t[2], accumulate);
                  });
    }
}

const Shape kShapes[] = {{1, 1}, {3, 7}, {5, 64}, {4, 1000}, {2, 5003}, {0, 8}, {4, 0}};

void softens(cuda::Context& context, const Shape& shape, bool logarithm) {
  expectAlike("softmaxRows", {reads(shape, 1, 5), output(shape)},
              [&](const Views& t) { cuda::softmaxRows(context, t[0], logarithm, t[1]); });
  for (const bool accumulate : {false, true})
    expectAlike(
        "softmaxRowsBackward", {reads(shape, 2), positive(shape, 4), outputOr(accumulate, shape, 3)},
        [&](const Views& t) { cuda::softmaxRowsBackward(context, t[0], t[1], logarithm, t[2], accumulate); }, 1e-5);
}

}  // namespace

int main() {
  TestContext test;
  for (const int64_t count : {0, 1, 13, 4096, 70001}) evaluates(test.context, count);
  for (const Shape& shape : kShapes)
    for (const bool logarithm : {false, true}) softens(test.context, shape, logarithm);
  return finish();
}
