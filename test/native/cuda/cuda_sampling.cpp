// Argmax and sampling of CUDA in every float type and layout, with any limits, and invalid draws.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

/// Every third logit is rounded, so that some are equal, every seventh is -inf.
Operand logitsOf(const Shape& shape) {
  Operand logits = reads(shape, 3, 3);
  for (size_t i = 0; i < logits.values.size(); ++i) {
    if (i % 3 == 0) logits.values[i] = std::round(logits.values[i]);
    if (i % 7 == 5) logits.values[i] = -INFINITY;
  }
  return logits;
}

void chooses(cuda::Context& context, const Shape& shape) {
  const Operand logits = logitsOf(shape);
  const Operand ids = fixed(DType::i32, {shape[0]}, Values(static_cast<size_t>(shape[0]), -77)).overwritten();
  expectAlike(
      "argmax", {logits, ids}, [&](const Views& t) { cuda::argmax(context, t[0], t[1]); }, kExact);
  std::mt19937 generator(9);
  for (const Sampling& sampling :
       {Sampling{1, 0, 1}, {0.4, 0, 0.9}, {1.5, 20, 1}, {2, 0, 0.98}, {1, 31, 0.7}, {50, 0, 0.5}}) {
    Values draws(static_cast<size_t>(shape[0]));
    for (double& draw : draws) draw = (static_cast<double>(generator()) + 0.5) * 0x1p21;
    expectAlike(
        "sample", {logits, fixed(DType::i64, {shape[0]}, draws), ids},
        [&](const Views& t) { cuda::sample(context, t[0], t[1], sampling, t[2]); }, kExact);
  }
}

void reportsDraws(TestContext& test) {
  const DeviceTensor logits(DType::f32, {3, 4}, Values(12)), ids(DType::i32, {3}, Values(3));
  const DeviceTensor draws(DType::i64, {3}, {0, -1, 5});
  cuda::sample(test.context, logits, draws, {1, 0, 1}, ids);
  const cuda::DeviceReport report = test.takeReport();
  CHECK(report.operation == static_cast<int32_t>(mora::Operation::sample));
  CHECK(report.position == 1 && report.value == -1);
  draws.set({0, 3, 0x1p53});
  cuda::sample(test.context, logits, draws, {1, 0, 1}, ids);
  CHECK(test.takeReport().position == 2);
}

const Shape kShapes[] = {{1, 1}, {3, 5}, {7, 64}, {4, 1000}, {3, 4099}, {2, 32001}, {0, 8}};

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes) chooses(test.context, shape);
  reportsDraws(test);
  return finish();
}
