// LayerNorm of CUDA and its gradient against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {3, 2312}, {1, 1001}, {0, 8}};
constexpr double kEpsilon = 1e-5;

double& at(Values& values, int64_t index) { return values[static_cast<size_t>(index)]; }
double at(const Values& values, int64_t index) { return values[static_cast<size_t>(index)]; }

struct Statistics {
  Values mean, rstd;
};

Statistics statisticsOf(const Values& x, int64_t rows, int64_t columns) {
  Statistics statistics{Values(static_cast<size_t>(rows)), Values(static_cast<size_t>(rows))};
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < columns; ++c) sum += at(x, r * columns + c);
    const double mean = sum / static_cast<double>(columns);
    for (int64_t c = 0; c < columns; ++c) squares += std::pow(at(x, r * columns + c) - mean, 2);
    at(statistics.mean, r) = mean;
    at(statistics.rstd, r) = 1 / std::sqrt(squares / static_cast<double>(columns) + kEpsilon);
  }
  return statistics;
}

void forward(cuda::Context& context, DType type, Size size, Layout layout, bool withBias) {
  const auto [rows, columns] = size;
  const std::vector<int64_t> shape{rows, columns};
  const Values weight = normal(DType::f32, columns, 1), bias = normal(DType::f32, columns, 2);
  // Values far from zero: sums of squares would lose the variance.
  Values x = normal(type, rows * columns, 3);
  for (double& value : x) value = rounded(type, value + 20);
  const auto [mean, rstd] = statisticsOf(x, rows, columns);
  Values expected = x;
  for (int64_t i = 0; i < rows * columns; ++i) {
    const int64_t r = i / columns, c = i % columns;
    at(expected, i) = (at(x, i) - at(mean, r)) * at(rstd, r) * at(weight, c) + (withBias ? at(bias, c) : 0);
  }

  const DeviceTensor deviceX(type, shape, x, layout), y(type, shape, Values(x.size()), layout);
  const DeviceTensor deviceWeight(DType::f32, {columns}, weight), deviceBias(DType::f32, {columns}, bias);
  const Values nothing(static_cast<size_t>(rows));
  const DeviceTensor deviceMean(DType::f32, {rows}, nothing), deviceRstd(DType::f32, {rows}, nothing);
  const TensorDesc shift = withBias ? deviceBias.desc() : TensorDesc{};
  cuda::layerNorm(context, deviceX, deviceWeight, shift, kEpsilon, y, deviceMean, deviceRstd);
  CHECK(close("mean", DType::f32, deviceMean.get(), mean));
  CHECK(close("rstd", DType::f32, deviceRstd.get(), rstd, 1e-5));
  CHECK(close("layerNorm", type, y.get(), expected, 1e-5));

  const Values made = y.get();
  y.set(Values(x.size()));
  cuda::layerNormApply(context, deviceX, deviceWeight, shift, deviceMean, deviceRstd, y);
  CHECK(y.get() == made);
}

void backward(cuda::Context& context, DType type, Size size, Layout layout, bool accumulate) {
  const auto [rows, columns] = size;
  const std::vector<int64_t> shape{rows, columns};
  const Values weight = normal(DType::f32, columns, 4), x = normal(type, rows * columns, 5);
  const Values dY = normal(type, rows * columns, 6), before = normal(type, rows * columns, 7);
  const Values dWeightBefore = normal(DType::f32, columns, 8), dBiasBefore = normal(DType::f32, columns, 9);
  auto [mean, rstd] = statisticsOf(x, rows, columns);
  for (double& value : mean) value = rounded(DType::f32, value);
  for (double& value : rstd) value = rounded(DType::f32, value);

  Values expected(x.size()), dWeight = dWeightBefore, dBias = dBiasBefore;
  double largest = 0;  // of the subtracted terms, which nearly cancel with few columns
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0, slope = 0;
    const auto normed = [&](int64_t c) { return (at(x, r * columns + c) - at(mean, r)) * at(rstd, r); };
    const auto inner = [&](int64_t c) { return at(dY, r * columns + c) * at(weight, c); };
    for (int64_t c = 0; c < columns; ++c) {
      at(dWeight, c) += at(dY, r * columns + c) * normed(c);
      at(dBias, c) += at(dY, r * columns + c);
      sum += inner(c) / static_cast<double>(columns);
      slope += inner(c) * normed(c) / static_cast<double>(columns);
    }
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t i = r * columns + c;
      at(expected, i) = at(rstd, r) * (inner(c) - sum - normed(c) * slope);
      largest = std::max(largest, std::abs(at(rstd, r) * inner(c)));
      if (accumulate) at(expected, i) += at(before, i);
    }
  }

  const DeviceTensor deviceDY(type, shape, dY, layout), deviceX(type, shape, x, layout);
  const DeviceTensor deviceWeight(DType::f32, {columns}, weight);
  const DeviceTensor deviceMean(DType::f32, {rows}, mean), deviceRstd(DType::f32, {rows}, rstd);
  const DeviceTensor dX(type, shape, before, layout);
  const DeviceTensor deviceDWeight(DType::f32, {columns}, dWeightBefore);
  const DeviceTensor deviceDBias(DType::f32, {columns}, dBiasBefore);
  cuda::layerNormBackward(context, deviceDY, deviceX, deviceWeight, deviceMean, deviceRstd, dX, accumulate,
                          deviceDWeight, deviceDBias);
  CHECK(close("dX", type, dX.get(), expected, 2e-6, largest));
  CHECK(close("dWeight", DType::f32, deviceDWeight.get(), dWeight, 2e-6));
  CHECK(close("dBias", DType::f32, deviceDBias.get(), dBias, 2e-6));
  if (accumulate) return;
  const Values first = dX.get();
  cuda::layerNormBackward(context, deviceDY, deviceX, deviceWeight, deviceMean, deviceRstd, deviceDY, false, {}, {});
  CHECK(deviceDY.get() == first);
}

}  // namespace

int main() {
  TestContext test;
  for (const DType type : kFloats)
    for (const Size size : kSizes)
      for (const Layout layout : kLayouts)
        for (const bool flag : {false, true}) {
          forward(test.context, type, size, layout, flag);
          backward(test.context, type, size, layout, flag);
        }
  return finish();
}
