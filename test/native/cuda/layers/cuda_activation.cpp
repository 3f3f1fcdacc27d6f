// Activation functions of CUDA, alone and as gates, and their gradients against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {1, 4099}, {0, 8}, {3, 0}};
const Activation kActivations[] = {Activation::silu, Activation::gelu, Activation::geluTanh, Activation::relu};

struct ValueAndSlope {
  double value, slope;
};

ValueAndSlope differentiate(Activation f, double x) {
  const double root = std::sqrt(2 / std::acos(-1.0));
  if (f == Activation::silu) {
    const double s = 1 / (1 + std::exp(-x));
    return {x * s, s * (1 + x * (1 - s))};
  }
  if (f == Activation::gelu) {
    const double phi = std::erfc(-x / std::sqrt(2.0)) / 2;
    return {x * phi, phi + x * std::exp(-x * x / 2) * root / 2};
  }
  if (f == Activation::geluTanh) {
    const double t = std::tanh(root * (x + 0.044715 * x * x * x));
    return {x / 2 * (1 + t), (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x)};
  }
  return {std::max(x, 0.0), x > 0 ? 1.0 : 0.0};
}

void agrees(cuda::Context& context, Activation f, DType type, Size size, Layout layout) {
  const std::vector<int64_t> shape{size.rows, size.columns};
  const int64_t count = size.rows * size.columns;
  const Values gate = normal(type, count, 1, 4), up = normal(type, count, 2), dY = normal(type, count, 3);
  Values y(gate.size()), alone = y, dGate = y, dUp = y, dAlone = y;
  for (size_t i = 0; i < y.size(); ++i) {
    const auto [value, slope] = differentiate(f, gate[i]);
    alone[i] = value;
    y[i] = value * up[i];
    dAlone[i] = dY[i] * slope;
    dGate[i] = dY[i] * up[i] * slope;
    dUp[i] = dY[i] * value;
  }
  const Values zeros(y.size());
  const DeviceTensor deviceGate(type, shape, gate, layout), deviceUp(type, shape, up, layout);
  const DeviceTensor deviceDY(type, shape, dY, layout), deviceY(type, shape, zeros, layout);
  cuda::activation(context, f, deviceGate, deviceUp, deviceY);
  CHECK(close("gated", type, deviceY.get(), y));
  cuda::activation(context, f, deviceGate, {}, deviceY);
  CHECK(close("alone", type, deviceY.get(), alone));

  const DeviceTensor deviceDGate(type, shape, zeros, layout), deviceDUp(type, shape, zeros, layout);
  cuda::activationBackward(context, f, deviceDY, deviceGate, {}, deviceDGate, {});
  // In GELU's slope, cubes of x multiply the rounding error of 1 - tanh² in float32.
  const double slack = 4e-6;
  CHECK(close("dX", type, deviceDGate.get(), dAlone, slack));
  cuda::activationBackward(context, f, deviceDY, deviceGate, deviceUp, deviceDGate, deviceDUp);
  CHECK(close("dGate", type, deviceDGate.get(), dGate, slack));
  CHECK(close("dUp", type, deviceDUp.get(), dUp));
  // Gradients may overwrite their inputs.
  cuda::activationBackward(context, f, deviceDY, deviceGate, deviceUp, deviceGate, deviceUp);
  CHECK(deviceGate.get() == deviceDGate.get());
  CHECK(deviceUp.get() == deviceDUp.get());
}

// Exponentials and cubes of these overflow in f32; no intermediate result may become infinite or NaN.
void saturates(cuda::Context& context) {
  const Values gate = {-1e20, -1000, -104, -89, 89, 1000, 1e20}, ones(7, 1);
  for (const Activation f : kActivations) {
    const DeviceTensor deviceGate(DType::f32, {1, 7}, gate), deviceUp(DType::f32, {1, 7}, ones);
    const DeviceTensor y(DType::f32, {1, 7}, ones);
    cuda::activation(context, f, deviceGate, deviceUp, y);
    CHECK(close("saturated", DType::f32, y.get(), {0, 0, 0, 0, 89, 1000, rounded(DType::f32, 1e20)}, 0x1p-100));
    cuda::activationBackward(context, f, deviceUp, deviceGate, deviceUp, y, deviceGate);
    CHECK(close("saturated slope", DType::f32, y.get(), {0, 0, 0, 0, 1, 1, 1}));
  }
}

}  // namespace

int main() {
  TestContext test;
  for (const Activation f : kActivations)
    for (const DType type : kFloats)
      for (const Size size : kSizes)
        for (const Layout layout : kLayouts) agrees(test.context, f, type, size, layout);
  saturates(test.context);
  return finish();
}
