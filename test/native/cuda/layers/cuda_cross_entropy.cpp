// Cross-entropy of CUDA and its gradient against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {5, 64}, {4, 1000}, {2, 9000}, {2, 5003}, {0, 8}};

struct Expected {
  Values losses, gradients;
};

/// @param softcap 0 means no cap
Expected expectedOf(Values logits, const Values& targets, int64_t columns, double softcap = 0) {
  Values slopes(logits.size(), 1);
  for (size_t i = 0; i < logits.size() && softcap > 0; ++i) {
    const double tanh = std::tanh(logits[i] / softcap);
    logits[i] = softcap * tanh;
    slopes[i] = 1 - tanh * tanh;
  }
  Expected expected{Values(targets.size()), Values(logits.size())};
  const auto width = static_cast<size_t>(columns);
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] < 0) continue;
    const double* const x = logits.data() + row * width;
    const auto target = static_cast<size_t>(targets[row]);
    const double maximum = *std::max_element(x, x + width);
    double sum = 0;
    for (size_t c = 0; c < width; ++c) sum += std::exp(x[c] - maximum);
    expected.losses[row] = std::log(sum) - (x[target] - maximum);
    for (size_t c = 0; c < width; ++c)
      expected.gradients[row * width + c] =
          slopes[row * width + c] * (c == target ? std::expm1(-expected.losses[row]) : std::exp(x[c] - maximum) / sum);
  }
  return expected;
}

void agrees(cuda::Context& context, DType type, DType gradientType, Size size, Layout layout, float softcap) {
  const auto [rows, columns] = size;
  const Values logits = normal(type, rows * columns, 1, 5);
  Values targets = integers(rows, columns, 2);
  if (rows > 1) targets[1] = -100;
  const auto [losses, gradients] = expectedOf(logits, targets, columns, softcap);
  const DeviceTensor deviceLogits(type, {rows, columns}, logits, layout), deviceTargets(DType::i32, {rows}, targets);
  const DeviceTensor deviceLosses(DType::f32, {rows}, Values(losses.size(), 7));
  cuda::crossEntropy(context, deviceLogits, deviceTargets, softcap, deviceLosses, {});
  CHECK(close("losses", DType::f32, deviceLosses.get(), losses));
  CHECK(deviceLogits.get() == logits);

  const DeviceTensor dLogits(gradientType, {rows, columns}, Values(logits.size(), 7), layout);
  deviceLosses.set(Values(losses.size(), 7));
  cuda::crossEntropy(context, deviceLogits, deviceTargets, softcap, deviceLosses, dLogits);
  CHECK(close("losses", DType::f32, deviceLosses.get(), losses));
  CHECK(close("dLogits", gradientType, dLogits.get(), gradients));
  if (type != gradientType) return;
  if (softcap > 0) {
    Values capped = logits;
    for (double& value : capped) value = softcap * std::tanh(value / softcap);
    const DeviceTensor deviceCapped(type, {rows, columns}, logits, layout);
    cuda::capLogits(context, deviceCapped, softcap);
    CHECK(close("capLogits", type, deviceCapped.get(), capped));
  }
  cuda::crossEntropy(context, deviceLogits, deviceTargets, softcap, deviceLosses, deviceLogits);
  CHECK(deviceLogits.get() == dLogits.get());
}

// A nearly certain target: one class adds e^-18 to its loss, which f32 would lose beside 1.
void keepsSmallLosses(cuda::Context& context) {
  for (const int64_t columns : {5, 512, 4104}) {
    Values logits(static_cast<size_t>(columns), -18.0);
    logits[3] = 0;
    const auto [losses, gradients] = expectedOf(logits, {3}, columns);
    const DeviceTensor deviceLogits(DType::f32, {1, columns}, logits), target(DType::i32, {1}, {3});
    const DeviceTensor deviceLosses(DType::f32, {1}, {0});
    cuda::crossEntropy(context, deviceLogits, target, 0, deviceLosses, deviceLogits);
    CHECK(std::abs(deviceLosses.get()[0] / losses[0] - 1) < 1e-6);
    CHECK(std::abs(deviceLogits.get()[3] / gradients[3] - 1) < 1e-6);
  }
}

// Classes with -infinity are allowed; a row without a finite logit has no loss.
void takesInfinities(cuda::Context& context) {
  const double infinity = INFINITY;
  Values logits(1100, -infinity);
  logits[2] = 1;
  logits[1090] = 2;
  const auto [losses, gradients] = expectedOf(logits, {2}, 1100);
  const DeviceTensor deviceLogits(DType::f32, {1, 1100}, logits), target(DType::i32, {1}, {2});
  const DeviceTensor deviceLosses(DType::f32, {1}, {0});
  cuda::crossEntropy(context, deviceLogits, target, 0, deviceLosses, deviceLogits);
  CHECK(close("losses", DType::f32, deviceLosses.get(), losses));
  CHECK(close("dLogits", DType::f32, deviceLogits.get(), gradients));

  logits[7] = NAN;
  deviceLogits.set(logits);
  cuda::crossEntropy(context, deviceLogits, target, 0, deviceLosses, deviceLogits);
  CHECK(std::isnan(deviceLosses.get()[0]));
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
  for (const DType type : kFloats)
    for (const DType gradientType : kFloats)
      for (const Size size : kSizes)
        for (const Layout layout : kLayouts)
          for (const float softcap : {0.0f, 6.0f}) agrees(test.context, type, gradientType, size, layout, softcap);
  keepsSmallLosses(test.context);
  takesInfinities(test.context);
  reportsTargets(test);
  return finish();
}
