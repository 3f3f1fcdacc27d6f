// RMSNorm of CUDA, its gradient and its residual against float64.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

/// Without heads, rows of [rows, columns]; else rows of [rows / heads, heads, columns].
struct Size {
  int64_t rows, columns, heads = 0;
  double weightOffset = 0;

  std::vector<int64_t> shape() const {
    if (heads == 0) return {rows, columns};
    return {rows / heads, heads, columns};
  }
  std::vector<int64_t> rowShape() const {
    if (heads == 0) return {rows};
    return {rows / heads, heads};
  }
  float offset() const { return static_cast<float>(weightOffset); }
};
const Size kSizes[] = {{1, 1}, {3, 7},       {2, 64},        {37, 264}, {3, 2312}, {1, 1001},
                       {0, 8}, {3, 7, 0, 1}, {15, 16, 3, 1}, {6, 7, 2}, {0, 8, 2}, {36, 128, 9, 1}};
constexpr double kEpsilon = 1e-5;

double& at(Values& values, int64_t index) { return values[static_cast<size_t>(index)]; }
double at(const Values& values, int64_t index) { return values[static_cast<size_t>(index)]; }

Values rstdOf(const Values& x, int64_t rows, int64_t columns) {
  Values rstd(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < columns; ++c) squares += at(x, r * columns + c) * at(x, r * columns + c);
    at(rstd, r) = 1 / std::sqrt(squares / static_cast<double>(columns) + kEpsilon);
  }
  return rstd;
}

Values normalised(const Values& x, const Values& weight, double weightOffset, const Values& rstd) {
  Values y = x;
  const int64_t columns = static_cast<int64_t>(weight.size());
  for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i)
    at(y, i) *= at(rstd, i / columns) * (weightOffset + at(weight, i % columns));
  return y;
}

void forward(cuda::Context& context, DType type, Size size, Layout layout, bool withResidual) {
  const int64_t rows = size.rows, columns = size.columns;
  const std::vector<int64_t> shape = size.shape();
  const Values weight = normal(DType::f32, columns, 1), residual = normal(type, rows * columns, 2);
  Values x = normal(type, rows * columns, 3);
  const DeviceTensor deviceX(type, shape, x, layout), deviceResidual(type, shape, residual, layout);
  const DeviceTensor deviceWeight(DType::f32, {columns}, weight), y(type, shape, Values(x.size()), layout);
  const DeviceTensor rstd(DType::f32, size.rowShape(), Values(static_cast<size_t>(rows)));
  if (withResidual)
    for (size_t i = 0; i < x.size(); ++i) x[i] = rounded(type, x[i] + residual[i]);
  const Values expectedRstd = rstdOf(x, rows, columns),
               expected = normalised(x, weight, size.weightOffset, expectedRstd);

  cuda::rmsNorm(context, deviceX, withResidual ? deviceResidual.desc() : TensorDesc{}, deviceWeight, size.offset(),
                kEpsilon, y, rstd);
  CHECK(deviceX.get() == x);
  CHECK(close("rmsNorm", type, y.get(), expected));
  CHECK(close("rstd", DType::f32, rstd.get(), expectedRstd));

  const DeviceTensor applied(type, shape, Values(x.size()), layout);
  cuda::rmsNormApply(context, deviceX, deviceWeight, size.offset(), rstd, applied);
  CHECK(close("rmsNormApply", type, applied.get(), expected));

  // Each result alone.
  const DeviceTensor onlyRstd(DType::f32, size.rowShape(), Values(static_cast<size_t>(rows)));
  cuda::rmsNorm(context, deviceX, {}, deviceWeight, size.offset(), kEpsilon, {}, onlyRstd);
  CHECK(onlyRstd.get() == rstd.get());
  applied.set(Values(x.size()));
  cuda::rmsNorm(context, deviceX, {}, deviceWeight, size.offset(), kEpsilon, applied, {});
  CHECK(applied.get() == y.get());
  // In place.
  cuda::rmsNorm(context, deviceX, {}, deviceWeight, size.offset(), kEpsilon, deviceX, {});
  CHECK(deviceX.get() == y.get());
}

void backward(cuda::Context& context, DType type, Size size, Layout layout, bool accumulate) {
  const int64_t rows = size.rows, columns = size.columns;
  const std::vector<int64_t> shape = size.shape();
  const Values weight = normal(DType::f32, columns, 4), x = normal(type, rows * columns, 5);
  const Values dY = normal(type, rows * columns, 6), before = normal(type, rows * columns, 7);
  const Values dWeightBefore = normal(DType::f32, columns, 8);
  Values rstd = rstdOf(x, rows, columns);
  for (double& value : rstd) value = rounded(DType::f32, value);

  Values expected(x.size()), dWeight = dWeightBefore;
  double largest = 0;  // of the subtracted terms, which nearly cancel with few columns
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0;
    for (int64_t c = 0; c < columns; ++c) {
      const double product = at(dY, r * columns + c) * at(x, r * columns + c) * at(rstd, r);
      at(dWeight, c) += product;
      mean += product * (size.weightOffset + at(weight, c)) / static_cast<double>(columns);
    }
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t i = r * columns + c;
      at(expected, i) = at(rstd, r) * (at(dY, i) * (size.weightOffset + at(weight, c)) - at(x, i) * at(rstd, r) * mean);
      largest = std::max(largest, std::abs(at(rstd, r) * at(dY, i) * (size.weightOffset + at(weight, c))));
      if (accumulate) at(expected, i) += at(before, i);
    }
  }

  const DeviceTensor deviceDY(type, shape, dY, layout), deviceX(type, shape, x, layout);
  const DeviceTensor deviceWeight(DType::f32, {columns}, weight), deviceRstd(DType::f32, size.rowShape(), rstd);
  const DeviceTensor dX(type, shape, before, layout), deviceDWeight(DType::f32, {columns}, dWeightBefore);
  cuda::rmsNormBackward(context, deviceDY, deviceX, deviceWeight, size.offset(), deviceRstd, dX, accumulate,
                        deviceDWeight);
  CHECK(close("dX", type, dX.get(), expected, 2e-6, largest));
  CHECK(close("dWeight", DType::f32, deviceDWeight.get(), dWeight, 2e-6));
  if (accumulate) return;
  const Values first = dX.get();
  cuda::rmsNormBackward(context, deviceDY, deviceX, deviceWeight, size.offset(), deviceRstd, deviceDY, false, {});
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
