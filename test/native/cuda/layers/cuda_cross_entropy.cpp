// Cross-entropy of CUDA, its gradient and the cap of logits, in every float type and layout, and invalid targets.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {5, 64}, {4, 1000}, {2, 9000}, {2, 5003}, {0, 8}};
void isAlike(cuda::Context& context, const Shape& shape, float softcap) {
  Values targets = integers(shape[0], shape[1], 2);
  if (shape[0] > 1) targets[1] = -100;
  const Operand logits = reads(shape, 1, 5), classes = fixed(DType::i32, {shape[0]}, targets);
  const Operand losses = output({shape[0]}).as(DType::f32).dense();
  const auto apart = expectAlike("crossEntropy", {logits, classes, losses, output(shape).ofOtherType()},
                                 [&](const Views& t) { cuda::crossEntropy(context, t[0], t[1], softcap, t[2], t[3]); });
  const auto alone = expectAlike("crossEntropy without gradients", {logits, classes, losses},
                                 [&](const Views& t) { cuda::crossEntropy(context, t[0], t[1], softcap, t[2], {}); });
  const auto inPlace =
      expectAlike("crossEntropy in the logits' memory", {logits.overwritten(), classes, losses},
                  [&](const Views& t) { cuda::crossEntropy(context, t[0], t[1], softcap, t[2], t[0]); });
  CHECK(alone[2] == apart[2] && inPlace[2] == apart[2] && inPlace[0] == apart[3]);
  if (softcap > 0)
    expectAlike("capLogits", {logits.overwritten()}, [&](const Views& t) { cuda::capLogits(context, t[0], softcap); });
}

void reportsTargets(TestContext& test) {
  const Values logits = normal(DType::f32, 3 * 8, 3);
  const DeviceTensor deviceLogits(DType::f32, {3, 8}, logits), targets(DType::i32, {3}, {-1, 7, 8});
  const DeviceTensor losses(DType::f32, {3}, Values(3));
  cuda::crossEntropy(test.context, deviceLogits, targets, 0, losses, deviceLogits);
  const cuda::DeviceReport report = test.takeReport();
  CHECK(report.operation == static_cast<int32_t>(Operation::crossEntropy));
  CHECK(report.position == 2 && report.value == 8 && report.limit == 8);
}

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes)
    for (const float softcap : {0.0f, 6.0f}) isAlike(test.context, shape, softcap);
  reportsTargets(test);
  return finish();
}
