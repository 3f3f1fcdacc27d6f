// The gates of a gated delta net of CUDA and their gradient, in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

/// Tokens and heads.
const Shape kShapes[] = {{1, 1}, {3, 5}, {7, 32}, {301, 4}, {0, 2}};

Operand vector(int64_t heads, unsigned seed) { return reads({heads}, seed).as(DType::f32).dense(); }

void forward(cuda::Context& context, const Shape& shape) {
  const Operand gate = output(shape).as(DType::f32);
  expectAlike("deltaGates", {reads(shape, 1), reads(shape, 2), vector(shape[1], 3), vector(shape[1], 4), gate, gate},
              [&](const Views& t) { cuda::deltaGates(context, t[0], t[1], t[2], t[3], t[4], t[5]); });
}

void backward(cuda::Context& context, const Shape& shape, bool trainsRate, bool trainsBias) {
  const auto gate = [&](unsigned seed) { return reads(shape, seed).as(DType::f32); };
  const auto trained = [&](bool is, unsigned seed) {
    const Operand operand = vector(shape[1], seed);
    return is ? operand.overwritten() : operand;
  };
  expectAlike("deltaGatesBackward",
              {gate(1), gate(2), reads(shape, 3), vector(shape[1], 4), vector(shape[1], 5), gate(6), gate(7),
               output(shape), output(shape), trained(trainsRate, 8), trained(trainsBias, 9)},
              [&](const Views& t) {
                const TensorDesc none{};
                cuda::deltaGatesBackward(context, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8],
                                         trainsRate ? t[9] : none, trainsBias ? t[10] : none);
              });
}

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes) {
    forward(test.context, shape);
    for (const bool trainsRate : {false, true})
      for (const bool trainsBias : {false, true}) backward(test.context, shape, trainsRate, trainsBias);
  }
  return finish();
}
