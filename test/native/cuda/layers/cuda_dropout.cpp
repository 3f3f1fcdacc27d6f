// Dropout of CUDA against the definition in core/math/philox.h, bit for bit.
#include "core/math/philox.h"
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {3, 7}, {2, 64}, {37, 264}, {1, 1003}, {0, 8}, {3, 0}};

void drops(cuda::Context& context, DType type, Size size, Layout layout, float probability) {
  const std::vector<int64_t> shape{size.rows, size.columns};
  const DropoutKey key{{0xdeadbeef, 17}, probability};
  const Values x = normal(type, size.rows * size.columns, 1);
  Values rowKeys = integers(size.rows, 1 << 30, 2), expected = x;
  for (double& rowKey : rowKeys) rowKey *= 4097;  // beyond 32 bits
  for (size_t i = 0; i < x.size(); ++i) {
    const uint64_t row = i / static_cast<size_t>(size.columns), column = i % static_cast<size_t>(size.columns);
    const PhiloxWords words = philox4x32(
        dropoutCounter(static_cast<int64_t>(rowKeys[row]), static_cast<uint32_t>(column / 4)), key.key[0], key.key[1]);
    const bool keeps = philoxUniform(words.word[column % 4]) >= probability;
    const float product = static_cast<float>(x[i]) * (keeps ? 1.0f / (1.0f - probability) : 0.0f);
    expected[i] = rounded(type, product);
  }
  const DeviceTensor deviceX(type, shape, x, layout), deviceRowKeys(DType::i64, {size.rows}, rowKeys);
  const DeviceTensor y(type, shape, Values(x.size()), layout);
  cuda::dropout(context, deviceX, deviceRowKeys, key, y);
  CHECK(y.get() == expected);
  cuda::dropout(context, deviceX, deviceRowKeys, key, deviceX);
  CHECK(deviceX.get() == expected);
}

}  // namespace

int main() {
  TestContext test;
  for (const DType type : kFloats)
    for (const Size size : kSizes)
      for (const Layout layout : kLayouts)
        for (const float probability : {0.0f, 0.1f, 0.7f}) drops(test.context, type, size, layout, probability);
  return finish();
}
