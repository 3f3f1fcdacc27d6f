// fill, copy and add of CUDA for views of any strides.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

const std::vector<int64_t> kShapes[] = {{}, {1}, {1000}, {3, 5}, {4, 64}, {2, 3, 40}, {2, 3, 4, 16}, {0, 8}, {4, 0}};

int64_t countOf(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return count;
}

void fills(cuda::Context& context) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16, DType::i32, DType::i64, DType::u8})
    for (const auto& shape : kShapes)
      for (const Layout layout : kLayouts) {
        const Values before(static_cast<size_t>(countOf(shape)), 1), after(before.size(), 42);
        const DeviceTensor target(type, shape, before, layout);
        cuda::fill(context, target, 42);
        CHECK(target.get() == after);
      }
}

void movesIntegers(cuda::Context& context) {
  for (const DType type : {DType::i32, DType::i64, DType::u8})
    for (const auto& shape : kShapes)
      for (const Layout layout : kLayouts) {
        const Values values = integers(countOf(shape), 200, 1);
        const DeviceTensor source(type, shape, values, layout), target(type, shape, Values(values.size()), {0, 1});
        cuda::copy(context, source, target, 1);
        CHECK(target.get() == values);
      }
}

void convertsFloats(cuda::Context& context) {
  for (const DType sourceType : kFloats)
    for (const DType targetType : kFloats)
      for (const auto& shape : kShapes)
        for (const Layout layout : kLayouts)
          for (const float scale : {1.0f, -0.75f}) {
            const Values values = normal(sourceType, countOf(shape), 2), before = normal(targetType, countOf(shape), 3);
            const DeviceTensor source(sourceType, shape, values, layout), target(targetType, shape, before, layout);
            Values copied(values), added(values);
            for (size_t i = 0; i < values.size(); ++i) {
              copied[i] = rounded(targetType, scale * values[i]);
              added[i] = copied[i] + scale * values[i];
            }
            cuda::copy(context, source, target, scale);
            CHECK(target.get() == copied);
            cuda::add(context, source, target, scale);
            CHECK(close("add", targetType, target.get(), added));
          }
}

// [r, c] of the target is [c, r] of the source; a row of the source may also be repeated with a stride of 0.
void walksAnyStrides(cuda::Context& context) {
  const int64_t rows = 37, columns = 24;
  for (const DType type : kFloats) {
    const Values values = normal(type, rows * columns, 4);
    const DeviceTensor source(type, {columns, rows}, values), target(type, {rows, columns}, Values(values.size()));
    TensorDesc turned = source;
    std::swap(turned.shape[0], turned.shape[1]);
    std::swap(turned.strides[0], turned.strides[1]);
    Values expected(values.size());
    const auto at = [](int64_t i) { return static_cast<size_t>(i); };
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) expected[at(r * columns + c)] = values[at(c * rows + r)];
    cuda::copy(context, turned, target, 1);
    CHECK(target.get() == expected);
    cuda::copy(context, turned, target, 2);
    for (double& value : expected) value *= 2;
    CHECK(target.get() == expected);

    TensorDesc repeated = source;
    repeated.shape[0] = rows;
    repeated.shape[1] = columns;
    repeated.strides[0] = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) expected[at(r * columns + c)] = values[at(c)];
    cuda::copy(context, repeated, target, 1);
    CHECK(target.get() == expected);
  }
}

}  // namespace

int main() {
  TestContext test;
  fills(test.context);
  movesIntegers(test.context);
  convertsFloats(test.context);
  walksAnyStrides(test.context);
  return finish();
}
