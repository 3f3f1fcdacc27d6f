// The causal convolution of CUDA and its gradient, in every float type and layout.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Case {
  Values offsets;
  int64_t channels, length;

  Shape shape() const { return {static_cast<int64_t>(offsets.back()), channels}; }
  Operand starts() const { return fixed(DType::i32, {static_cast<int64_t>(offsets.size())}, offsets); }
  Operand kernel(unsigned seed) const { return reads({channels, length}, seed).as(DType::f32).dense(); }
  Operand bias(unsigned seed) const { return reads({channels}, seed).as(DType::f32).dense(); }
};
const Case kCases[] = {{{0, 1}, 1, 1}, {{0, 2, 2, 9}, 3, 4}, {{0, 40, 75}, 16, 4}, {{0, 5}, 24, 3}, {{0}, 4, 2}};

void forward(cuda::Context& context, const Case& of, bool hasBias) {
  expectAlike(
      "causalConvolution", {reads(of.shape(), 1), of.kernel(2), of.bias(3), of.starts(), output(of.shape())},
      [&](const Views& t) { cuda::causalConvolution(context, t[0], t[1], hasBias ? t[2] : TensorDesc{}, t[3], t[4]); });
}

void backward(cuda::Context& context, const Case& of, bool accumulate, bool trained) {
  std::vector<Operand> operands{reads(of.shape(), 1),
                                reads(of.shape(), 2),
                                of.kernel(3),
                                of.starts(),
                                outputOr(accumulate, of.shape(), 4),
                                of.kernel(5),
                                of.bias(6)};
  if (trained) operands[5] = operands[5].overwritten(), operands[6] = operands[6].overwritten();
  expectAlike("causalConvolutionBackward", operands, [&](const Views& t) {
    const TensorDesc none{};
    cuda::causalConvolutionBackward(context, t[0], t[1], t[2], t[3], t[4], accumulate, trained ? t[5] : none,
                                    trained ? t[6] : none);
  });
}

}  // namespace

int main() {
  TestContext test;
  for (const Case& of : kCases)
    for (const bool flag : {false, true}) {
      forward(test.context, of, flag);
      for (const bool trained : {false, true}) backward(test.context, of, flag, trained);
    }
  return finish();
}
