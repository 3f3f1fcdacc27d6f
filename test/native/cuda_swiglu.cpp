// SwiGLU of CUDA and its gradient against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {1, 4099}, {0, 8}, {3, 0}};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void agrees(cuda::Context& context, DType type, Size size, Layout layout) {
  const std::vector<int64_t> shape{size.rows, size.columns};
  const int64_t count = size.rows * size.columns;
  const Values gate = normal(type, count, 1, 4), up = normal(type, count, 2), dY = normal(type, count, 3);
  Values y(gate.size()), dGate = y, dUp = y;
  for (size_t i = 0; i < y.size(); ++i) {
    const double s = sigmoid(gate[i]);
    y[i] = gate[i] * s * up[i];
    dGate[i] = dY[i] * up[i] * s * (1 + gate[i] * (1 - s));
    dUp[i] = dY[i] * gate[i] * s;
  }
  const Values zeros(y.size());
  const DeviceTensor deviceGate(type, shape, gate, layout), deviceUp(type, shape, up, layout);
  const DeviceTensor deviceDY(type, shape, dY, layout), deviceY(type, shape, zeros, layout);
  cuda::swiglu(context, deviceGate, deviceUp, deviceY);
  CHECK(close("swiglu", type, deviceY.get(), y));

  const DeviceTensor deviceDGate(type, shape, zeros, layout), deviceDUp(type, shape, zeros, layout);
  cuda::swigluBackward(context, deviceDY, deviceGate, deviceUp, deviceDGate, deviceDUp);
  CHECK(close("dGate", type, deviceDGate.get(), dGate));
  CHECK(close("dUp", type, deviceDUp.get(), dUp));
  // Gradients may take the place of what they are made from.
  cuda::swigluBackward(context, deviceDY, deviceGate, deviceUp, deviceGate, deviceUp);
  CHECK(deviceGate.get() == deviceDGate.get());
  CHECK(deviceUp.get() == deviceDUp.get());
}

// Sigmoids of these are 0 and 1 in f32; nothing may become infinite or NaN on the way.
void saturates(cuda::Context& context) {
  const Values gate = {-1000, -104, -89, 89, 1000}, ones(5, 1);
  const DeviceTensor deviceGate(DType::f32, {1, 5}, gate), deviceUp(DType::f32, {1, 5}, ones);
  const DeviceTensor y(DType::f32, {1, 5}, ones);
  cuda::swiglu(context, deviceGate, deviceUp, y);
  CHECK(close("swiglu", DType::f32, y.get(), {0, 0, 0, 89, 1000}));
  cuda::swigluBackward(context, deviceUp, deviceGate, deviceUp, y, deviceGate);
  CHECK(close("dGate", DType::f32, y.get(), {0, 0, 0, 1, 1}));
}

}  // namespace

int main() {
  TestContext test;
  for (const DType type : kFloats)
    for (const Size size : kSizes)
      for (const Layout layout : kLayouts) agrees(test.context, type, size, layout);
  saturates(test.context);
  return finish();
}
