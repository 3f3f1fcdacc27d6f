// fill, copy and add of CUDA for views of any strides, in every type.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const Shape kShapes[] = {{}, {1}, {1000}, {3, 5}, {4, 64}, {2, 3, 40}, {2, 3, 4, 16}, {0, 8}, {4, 0}};

/// The number 42 everywhere, integers moved, and floats converted.
void isAlike(cuda::Context& context, const Shape& shape) {
  const auto fill = [&](const Views& t) { cuda::fill(context, t[0], 42); };
  CHECK(expectAlike("fill", {output(shape)}, fill, kExact)[0] == Values(static_cast<size_t>(countOf(shape)), 42));
  const Values values = integers(countOf(shape), 200, 1);
  for (const DType type : {DType::i32, DType::i64, DType::u8}) {
    const Operand source = Operand{shape, values}.as(type);
    expectAlike("fill", {source.overwritten()}, fill, kExact);
    expectAlike(
        "copy", {source, fixed(type, shape, Values(values.size())).overwritten()},
        [&](const Views& t) { cuda::copy(context, t[0], t[1], 1); }, kExact);
  }
  for (const float scale : {1.0f, -0.75f}) {
    const std::vector<Operand> operands{reads(shape, 2), changes(shape, 3).ofOtherType()};
    expectAlike(
        "copy", operands, [&](const Views& t) { cuda::copy(context, t[0], t[1], scale); }, kExact);
    expectAlike("add", operands, [&](const Views& t) { cuda::add(context, t[0], t[1], scale); });
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
  for (const Shape& shape : kShapes) isAlike(test.context, shape);
  walksAnyStrides(test.context);
  return finish();
}
