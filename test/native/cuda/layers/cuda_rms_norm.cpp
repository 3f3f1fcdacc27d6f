// RMSNorm of CUDA over rows and heads, its gradient and its residual, in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

constexpr double kEpsilon = 1e-5;

/// Rows of [rows, columns], or of [tokens, heads, columns].
struct Case {
  Shape shape;
  float offset = 0;

  Shape rowShape() const { return {shape.begin(), shape.end() - 1}; }
};
const Case kCases[] = {{{1, 1}}, {{3, 7}},    {{2, 64}},       {{37, 264}}, {{3, 2312}}, {{1, 1001}},
                       {{0, 8}}, {{3, 7}, 1}, {{5, 3, 16}, 1}, {{3, 2, 7}}, {{0, 2, 8}}, {{4, 9, 128}, 1}};

void forward(cuda::Context& context, const Case& of) {
  const auto& [shape, offset] = of;
  const Operand x = reads(shape, 3), y = output(shape), weight = reads({shape.back()}, 1).as(DType::f32).dense();
  const Operand rstd = output(of.rowShape()).as(DType::f32).dense();
  const auto both = expectAlike("rmsNorm", {x, weight, y, rstd}, [&](const Views& t) {
    cuda::rmsNorm(context, t[0], {}, t[1], offset, kEpsilon, t[2], t[3]);
  });
  // The sum is rounded to the type before the norm is computed.
  expectAlike("rmsNorm after a residual", {x.overwritten(), weight, y, rstd, reads(shape, 5)},
              [&](const Views& t) { cuda::rmsNorm(context, t[0], t[4], t[1], offset, kEpsilon, t[2], t[3]); },
              {1e-6, 0x1p-8, 0x1p-11});
  const auto onlyRstd = expectAlike("rstd alone", {x, weight, rstd}, [&](const Views& t) {
    cuda::rmsNorm(context, t[0], {}, t[1], offset, kEpsilon, {}, t[2]);
  });
  const auto inPlace = expectAlike("rmsNorm in place", {x.overwritten(), weight}, [&](const Views& t) {
    cuda::rmsNorm(context, t[0], {}, t[1], offset, kEpsilon, t[0], {});
  });
  CHECK(onlyRstd[2] == both[3] && inPlace[0] == both[2]);
  expectAlike("rmsNormApply", {x, weight, fixed(DType::f32, of.rowShape(), both[3]), y},
              [&](const Views& t) { cuda::rmsNormApply(context, t[0], t[1], offset, t[2], t[3]); });
}

void backward(cuda::Context& context, const Case& of, bool accumulate) {
  const auto& [shape, offset] = of;
  const Operand dY = reads(shape, 6), x = reads(shape, 5), weight = reads({shape.back()}, 4).as(DType::f32).dense();
  const Operand rstd = reads(of.rowShape(), 9).as(DType::f32).dense();
  const auto apart = expectAlike(
      "rmsNormBackward",
      {dY, x, weight, rstd, outputOr(accumulate, shape, 7), changes({shape.back()}, 8).as(DType::f32).dense()},
      [&](const Views& t) { cuda::rmsNormBackward(context, t[0], t[1], t[2], offset, t[3], t[4], accumulate, t[5]); },
      2e-6);
  if (accumulate) return;
  const auto inPlace = expectAlike(
      "rmsNormBackward in dY's memory, of x alone", {dY.overwritten(), x, weight, rstd},
      [&](const Views& t) { cuda::rmsNormBackward(context, t[0], t[1], t[2], offset, t[3], t[0], false, {}); }, 2e-6);
  CHECK(inPlace[0] == apart[4]);
}

}  // namespace

int main() {
  TestContext test;
  for (const Case& of : kCases) {
    forward(test.context, of);
    for (const bool accumulate : {false, true}) backward(test.context, of, accumulate);
  }
  return finish();
}
