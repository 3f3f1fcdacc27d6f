// Activation functions of CUDA, alone and as gates, and their gradients, in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {1, 4099}, {0, 8}, {3, 0}};

}  // namespace

int main() {
  TestContext test;
  cuda::Context& context = test.context;
  for (const Activation f : {Activation::silu, Activation::gelu, Activation::geluTanh, Activation::relu})
    for (const Shape& shape : kShapes) {
      const Operand gate = reads(shape, 1, 4), up = reads(shape, 2), dY = reads(shape, 3), result = output(shape);
      expectAlike("activation with a gate", {gate, up, result},
                  [&](const Views& t) { cuda::activation(context, f, t[0], t[1], t[2]); });
      expectAlike("activation", {gate, result}, [&](const Views& t) { cuda::activation(context, f, t[0], {}, t[1]); });
      // In GELU's slope, cubes of x multiply the rounding error of 1 - tanh² in float32.
      expectAlike(
          "its gradient", {dY, gate, result},
          [&](const Views& t) { cuda::activationBackward(context, f, t[0], t[1], {}, t[2], {}); }, 4e-6);
      const auto apart = expectAlike(
          "gradients of both", {dY, gate, up, result, result},
          [&](const Views& t) { cuda::activationBackward(context, f, t[0], t[1], t[2], t[3], t[4]); }, 4e-6);
      const auto inPlace = expectAlike(
          "gradients in the inputs' memory", {dY, gate.overwritten(), up.overwritten()},
          [&](const Views& t) { cuda::activationBackward(context, f, t[0], t[1], t[2], t[1], t[2]); }, 4e-6);
      CHECK(inPlace[1] == apart[3] && inPlace[2] == apart[4]);
    }
  return finish();
}
