// elementwise, softmaxRows and softmaxRowsBackward of CUDA against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

double evaluate(Elementwise f, double a, double b) {
  switch (f) {
    case Elementwise::exp:
      return std::exp(a);
    case Elementwise::log:
      return std::log(a);
    case Elementwise::sqrt:
      return std::sqrt(a);
    case Elementwise::tanh:
      return std::tanh(a);
    case Elementwise::sigmoid:
      return 1 / (1 + std::exp(-a));
    case Elementwise::softplus:
      return std::log1p(std::exp(a));
    case Elementwise::multiply:
      return a * b;
    case Elementwise::divide:
      return a / b;
    case Elementwise::sqrtGradient:
      return a / (2 * b);
    case Elementwise::tanhGradient:
      return a * (1 - b * b);
    case Elementwise::sigmoidGradient:
      return a * b * (1 - b);
    case Elementwise::softplusGradient:
      return a / (1 + std::exp(-b));
  }
  return NAN;
}

constexpr std::pair<Elementwise, const char*> kFunctions[] = {
#define MORA_ELEMENTWISE(name, operands) {Elementwise::name, #name},
#include "core/operations.def"
};

void evaluates(cuda::Context& context, DType type, int64_t count, Layout layout) {
  for (const auto& [f, name] : kFunctions) {
    for (const bool accumulate : {false, true}) {
      Values a = normal(type, count, 1), b = normal(type, count, 2);
      const Values before = normal(type, count, 3);
      for (double& value : b) value = rounded(type, std::abs(value) + 0.5);
      if (f == Elementwise::log || f == Elementwise::sqrt) a = b;
      const DeviceTensor deviceA(type, {count}, a, {layout.offset, 0}), deviceB(type, {count}, b, {layout.offset, 0});
      const DeviceTensor y(type, {count}, before, {layout.offset, 0});
      Values expected = accumulate ? before : Values(before.size());
      for (size_t i = 0; i < a.size(); ++i) expected[i] += evaluate(f, a[i], b[i]);
      cuda::elementwise(context, f, deviceA, takesTwo(f) ? deviceB.desc() : TensorDesc{}, y, accumulate);
      CHECK(close(std::string("elementwise ") + name, type, y.get(), expected));
    }
  }
}

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {5, 64}, {4, 1000}, {2, 5003}, {0, 8}, {4, 0}};

void softens(cuda::Context& context, DType type, Size size, Layout layout, bool logarithm) {
  const auto [rows, columns] = size;
  const auto width = static_cast<size_t>(columns);
  const Values x = normal(type, rows * columns, 1, 5), dY = normal(type, rows * columns, 2);
  const Values before = normal(type, rows * columns, 3);
  Values y(x.size()), gradients(x.size());
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    double sum = 0, ofGradients = 0;
    for (size_t c = 0; c < width; ++c) sum += std::exp(x[row * width + c]);
    for (size_t c = 0; c < width; ++c) {
      const size_t i = row * width + c;
      y[i] = logarithm ? x[i] - std::log(sum) : std::exp(x[i]) / sum;
    }
    for (size_t c = 0; c < width; ++c) {
      const size_t i = row * width + c;
      ofGradients += dY[i] * (logarithm ? 1 : rounded(type, y[i]));
    }
    for (size_t c = 0; c < width; ++c) {
      const size_t i = row * width + c;
      const double result = rounded(type, y[i]);
      gradients[i] = logarithm ? dY[i] - std::exp(result) * ofGradients : result * (dY[i] - ofGradients);
    }
  }
  const DeviceTensor deviceX(type, {rows, columns}, x, layout), result(type, {rows, columns}, before, layout);
  cuda::softmaxRows(context, deviceX, logarithm, result);
  CHECK(close("softmaxRows", type, result.get(), y));
  Values rounding = y;
  for (double& value : rounding) value = rounded(type, value);
  const DeviceTensor deviceY(type, {rows, columns}, rounding, layout), deviceDY(type, {rows, columns}, dY, layout);
  for (const bool accumulate : {false, true}) {
    const DeviceTensor dX(type, {rows, columns}, before, layout);
    Values expected = gradients;
    if (accumulate)
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
    cuda::softmaxRowsBackward(context, deviceDY, deviceY, logarithm, dX, accumulate);
    CHECK(close("softmaxRowsBackward", type, dX.get(), expected, 1e-5));
  }
}

}  // namespace

int main() {
  TestContext test;
  for (const DType type : kFloats)
    for (const Layout layout : kLayouts) {
      for (const int64_t count : {0, 1, 13, 4096, 70001}) evaluates(test.context, type, count, layout);
      for (const Size size : kSizes)
        for (const bool logarithm : {false, true}) softens(test.context, type, size, layout, logarithm);
    }
  return finish();
}
