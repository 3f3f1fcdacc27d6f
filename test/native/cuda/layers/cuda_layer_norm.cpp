// LayerNorm of CUDA and its gradient in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {3, 2312}, {1, 1001}, {0, 8}};
constexpr double kEpsilon = 1e-5;

/// A value for each row or column.
Operand vector(int64_t count, unsigned seed) { return reads({count}, seed).as(DType::f32).dense(); }

void forward(cuda::Context& context, const Shape& shape, bool withBias) {
  const int64_t rows = shape[0], columns = shape[1];
  const Operand x = reads(shape, 3), weight = vector(columns, 1), bias = vector(columns, 2);
  const Operand y = output(shape), rowFacts = output({rows}).as(DType::f32).dense();
  const auto shift = [&](const Views& t) { return withBias ? t[2] : TensorDesc{}; };
  const auto made = expectAlike(
      "layerNorm", {x, weight, bias, y, rowFacts, rowFacts},
      [&](const Views& t) { cuda::layerNorm(context, t[0], t[1], shift(t), kEpsilon, t[3], t[4], t[5]); }, 1e-5);
  const auto applied = expectAlike(
      "layerNormApply", {x, weight, bias, y, fixed(DType::f32, {rows}, made[4]), fixed(DType::f32, {rows}, made[5])},
      [&](const Views& t) { cuda::layerNormApply(context, t[0], t[1], shift(t), t[4], t[5], t[3]); }, 1e-5);
  CHECK(applied[3] == made[3]);
}

void backward(cuda::Context& context, const Shape& shape, bool accumulate) {
  const int64_t rows = shape[0], columns = shape[1];
  const Operand dY = reads(shape, 6), x = reads(shape, 5), weight = vector(columns, 4);
  const Operand mean = vector(rows, 10), rstd = vector(rows, 11);
  const Operand sums = vector(columns, 8).overwritten();
  const auto apart = expectAlike(
      "layerNormBackward", {dY, x, weight, mean, rstd, outputOr(accumulate, shape, 7), sums, sums},
      [&](const Views& t) {
        cuda::layerNormBackward(context, t[0], t[1], t[2], t[3], t[4], t[5], accumulate, t[6], t[7]);
      },
      2e-6);
  if (accumulate) return;
  const auto inPlace = expectAlike(
      "layerNormBackward in dY's memory, of x alone", {dY.overwritten(), x, weight, mean, rstd},
      [&](const Views& t) { cuda::layerNormBackward(context, t[0], t[1], t[2], t[3], t[4], t[0], false, {}, {}); },
      2e-6);
  CHECK(inPlace[0] == apart[5]);
}

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes)
    for (const bool flag : {false, true}) {
      forward(test.context, shape, flag);
      backward(test.context, shape, flag);
    }
  return finish();
}
