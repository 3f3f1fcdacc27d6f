// Sums, counts and maxima of CUDA over whole tensors.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

const int64_t kCounts[] = {0, 1, 7, 8192, 8195, 30001};

void sums(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const int64_t count : kCounts)
      for (const int64_t offset : {0, 1})
        for (const bool accumulate : {false, true}) {
          // Powers of two that cancel in f32's sums, but not in f64's.
          Values x = normal(type, count, 1);
          if (count > 2) x[0] = 16384, x[static_cast<size_t>(count) - 1] = -16384;
          double expected = accumulate ? 0.5 : 0;
          for (const double value : x) expected += value;
          const DeviceTensor deviceX(type, {count}, x, {offset, 0}), total(DType::f32, {1}, {0.5});
          cuda::sum(context, deviceX, total, accumulate);
          CHECK(std::abs(total.get()[0] - expected) <= 0x1p-24 * std::abs(expected) + 1e-9);
        }
}

void counts(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const int64_t count : kCounts)
      for (const int64_t offset : {0, 1})
        for (const bool accumulate : {false, true}) {
          Values x = normal(type, count, 2);
          int64_t expected = accumulate ? 5 : 0;
          for (size_t i = 0; i < x.size(); i += 1001, ++expected) x[i] = i % 2 ? NAN : -INFINITY;
          const DeviceTensor deviceX(type, {count}, x, {offset, 0}), found(DType::i32, {1}, {5});
          cuda::countNonFinite(context, deviceX, found, accumulate);
          CHECK(found.get()[0] == static_cast<double>(expected));
        }
  const DeviceTensor x(DType::f32, {2}, {NAN, INFINITY}), full(DType::i32, {1}, {2147483646.0});
  cuda::countNonFinite(context, x, full, true);
  CHECK(full.get()[0] == 2147483647.0);
}

void differences(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const int64_t count : kCounts)
      for (const int64_t offset : {0, 1})
        for (const bool accumulate : {false, true}) {
          Values x = normal(type, count, 3), y = normal(type, count, 4);
          if (count > 1) x[0] = NAN;
          double expected = accumulate ? 0.5 : 0;
          for (size_t i = count > 1; i < x.size(); ++i) expected = std::max(expected, std::abs(x[i] - y[i]));
          const DeviceTensor a(type, {count}, x, {offset, 0}), b(type, {count}, y), largest(DType::f32, {1}, {0.5});
          cuda::largestDifference(context, a, b, largest, accumulate);
          CHECK(std::abs(largest.get()[0] - expected) <= 0x1p-24 * expected);
        }
}

}  // namespace

int main() {
  TestContext test;
  sums(test.context);
  counts(test.context);
  differences(test.context);
  return finish();
}
