// Attention and its gradient on CUDA against float64, over documents, heads, head sizes, types and layouts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/runtime/device_report.h"
#include "cuda_fixture.h"

namespace mora::test {
namespace {

struct Case {
  std::vector<std::pair<int64_t, int64_t>> documents;  // queries and keys of each
  int64_t heads, keyHeads, headSize;
  int64_t window = 0;
  double softcap = 0;

  int64_t queries() const { return total(&std::pair<int64_t, int64_t>::first); }
  int64_t keys() const { return total(&std::pair<int64_t, int64_t>::second); }
  double scale() const { return 1 / std::sqrt(static_cast<double>(headSize)); }
  AttentionScoring scoring() const { return {static_cast<float>(scale()), static_cast<float>(softcap), window}; }
  std::string name() const {
    std::string text;
    for (const auto& [queries, keys] : documents) text += std::to_string(queries) + "/" + std::to_string(keys) + " ";
    return text + "with " + std::to_string(heads) + "/" + std::to_string(keyHeads) + " heads of " +
           std::to_string(headSize) + ", window " + std::to_string(window) + ", softcap " + std::to_string(softcap);
  }
  Values offsets(int64_t std::pair<int64_t, int64_t>::*part) const {
    Values offsets{0};
    for (const auto& document : documents) offsets.push_back(offsets.back() + static_cast<double>(document.*part));
    return offsets;
  }

 private:
  int64_t total(int64_t std::pair<int64_t, int64_t>::*part) const { return static_cast<int64_t>(offsets(part).back()); }
};

std::vector<std::pair<int64_t, int64_t>> whole(const std::vector<int64_t>& lengths) {
  std::vector<std::pair<int64_t, int64_t>> documents;
  for (const int64_t length : lengths) documents.emplace_back(length, length);
  return documents;
}

struct Inputs {
  Values q, k, v, dOut;

  Inputs(const Case& shape, DType type)
      : q(normal(type, shape.queries() * shape.heads * shape.headSize, 1)),
        k(normal(type, shape.keys() * shape.keyHeads * shape.headSize, 2)),
        v(normal(type, shape.keys() * shape.keyHeads * shape.headSize, 3)),
        dOut(normal(type, shape.queries() * shape.heads * shape.headSize, 4)) {}
};

struct Outputs {
  Values out, lse, dQ, dK, dV;
};

/// Row `row` of head `head` of a dense tensor [T, heads, E].
template <typename Elements>
auto* rowOf(Elements& tensor, int64_t row, int64_t head, int64_t heads, int64_t headSize) {
  return tensor.data() + (row * heads + head) * headSize;
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void addScaled(double* to, double factor, const double* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

Outputs reference(const Case& shape, const Inputs& inputs) {
  const auto& [documents, heads, keyHeads, size, window, softcap] = shape;
  Outputs results{Values(inputs.q.size()), Values(static_cast<size_t>(heads * shape.queries())),
                  Values(inputs.q.size()), Values(inputs.k.size()), Values(inputs.k.size())};
  int64_t firstQuery = 0, firstKey = 0;
  for (const auto& [queries, keys] : documents) {
    for (int64_t i = 0; i < queries * heads; ++i) {
      const int64_t row = firstQuery + i / heads, head = i % heads, keyHead = head / (heads / keyHeads);
      const int64_t end = std::max<int64_t>(0, i / heads + 1 + keys - queries);
      const int64_t begin = window > 0 ? std::max<int64_t>(0, end - window) : 0;
      const double* const q = rowOf(inputs.q, row, head, heads, size);
      const double* const dOut = rowOf(inputs.dOut, row, head, heads, size);
      double* const out = rowOf(results.out, row, head, heads, size);
      Values weights(static_cast<size_t>(end - begin)), slopes(weights.size(), 1);
      const auto keyRow = [&](auto& tensor, size_t j) {
        return rowOf(tensor, firstKey + begin + static_cast<int64_t>(j), keyHead, keyHeads, size);
      };
      double largest = -std::numeric_limits<double>::infinity(), sum = 0;
      for (size_t j = 0; j < weights.size(); ++j) {
        weights[j] = shape.scale() * dot(q, keyRow(inputs.k, j), size);
        if (softcap > 0) {
          weights[j] = softcap * std::tanh(weights[j] / softcap);
          slopes[j] = 1 - weights[j] * weights[j] / (softcap * softcap);
        }
        largest = std::max(largest, weights[j]);
      }
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      results.lse[static_cast<size_t>(head * shape.queries() + row)] = end == 0 ? largest : largest + std::log(sum);
      for (size_t j = 0; j < weights.size(); ++j) addScaled(out, weights[j] /= sum, keyRow(inputs.v, j), size);
      const double delta = dot(dOut, out, size);
      for (size_t j = 0; j < weights.size(); ++j) {
        const double dS = shape.scale() * slopes[j] * weights[j] * (dot(dOut, keyRow(inputs.v, j), size) - delta);
        addScaled(keyRow(results.dV, j), weights[j], dOut, size);
        addScaled(rowOf(results.dQ, row, head, heads, size), dS, keyRow(inputs.k, j), size);
        addScaled(keyRow(results.dK, j), dS, q, size);
      }
    }
    firstQuery += queries, firstKey += keys;
  }
  return results;
}

/// A case's tensors on the device; outputs initially hold NaN.
struct Device {
  DeviceTensor q, k, v, dOut, queryOffsets, keyOffsets, out, lse, dQ, dK, dV;

  Device(const Case& shape, const Inputs& inputs, DType type, Layout layout)
      : Device(shape, inputs, type, layout, {shape.queries(), shape.heads, shape.headSize},
               {shape.keys(), shape.keyHeads, shape.headSize}) {}

 private:
  Device(const Case& shape, const Inputs& inputs, DType type, Layout layout, const std::vector<int64_t>& queryShape,
         const std::vector<int64_t>& keyShape)
      : q(type, queryShape, inputs.q, layout),
        k(type, keyShape, inputs.k, layout),
        v(type, keyShape, inputs.v, layout),
        dOut(type, queryShape, inputs.dOut, layout),
        queryOffsets(DType::i32, {static_cast<int64_t>(shape.documents.size()) + 1},
                     shape.offsets(&std::pair<int64_t, int64_t>::first)),
        keyOffsets(DType::i32, {static_cast<int64_t>(shape.documents.size()) + 1},
                   shape.offsets(&std::pair<int64_t, int64_t>::second)),
        out(type, queryShape, nothing(inputs.q.size()), layout),
        lse(DType::f32, {shape.heads, shape.queries()}, nothing(static_cast<size_t>(shape.heads * shape.queries()))),
        dQ(type, queryShape, nothing(inputs.q.size()), layout),
        dK(type, keyShape, nothing(inputs.k.size()), layout),
        dV(type, keyShape, nothing(inputs.k.size()), layout) {}

  static Values nothing(size_t count) { return Values(count, std::numeric_limits<double>::quiet_NaN()); }
};

double pick(DType type, double f32, double bf16, double f16) {
  return type == DType::f32 ? f32 : type == DType::bf16 ? bf16 : f16;
}

void forward(cuda::Context& context, const Case& shape, const Device& device, bool withLse = true) {
  TensorDesc lse = device.lse;
  if (!withLse) lse.data = nullptr;
  cuda::attention(context, device.q, device.k, device.v, device.queryOffsets, device.keyOffsets, shape.scoring(),
                  device.out, lse);
}

void checkForward(const Case& shape, DType type, Layout layout, int32_t multiprocessors = 4) {
  TestContext test;
  test.context.multiprocessors = multiprocessors;
  const Inputs inputs(shape, type);
  const Outputs expected = reference(shape, inputs);
  const Device device(shape, inputs, type, layout);
  forward(test.context, shape, device);
  // Weights are rounded to the type before they are multiplied with v.
  const double slack = pick(type, 2e-6, 0x1p-8, 0x1p-11);
  CHECK(close("out of " + shape.name(), type, device.out.get(), expected.out, slack));
  CHECK(close("lse of " + shape.name(), DType::f32, device.lse.get(), expected.lse, 2e-6));
}

void checkBackward(const Case& shape, DType type, Layout layout) {
  TestContext test;
  const Inputs inputs(shape, type);
  const Outputs expected = reference(shape, inputs);
  const Device device(shape, inputs, type, layout);
  const auto backward = [&] {
    cuda::attentionBackward(test.context, device.dOut, device.q, device.k, device.v, device.out, device.lse,
                            device.queryOffsets, device.keyOffsets, shape.scoring(), device.dQ, device.dK, device.dV);
    return std::vector<Values>{device.dQ.get(), device.dK.get(), device.dV.get()};
  };
  forward(test.context, shape, device);
  const std::vector<Values> actual = backward();
  // out, weights and their gradients are rounded to the type before products.
  const double slack = pick(type, 1e-5, 0x1p-6, 0x1p-9);
  // If one key is seen, dQ and dK are differences of equal numbers: only rounding errors of f32 remain.
  double largest = 0;
  for (const double value : expected.dV) largest = std::max(largest, std::abs(value));
  const double left = 0x1p-12 * largest;
  CHECK(close("dQ of " + shape.name(), type, actual[0], expected.dQ, slack, left));
  CHECK(close("dK of " + shape.name(), type, actual[1], expected.dK, slack, left));
  CHECK(close("dV of " + shape.name(), type, actual[2], expected.dV, slack));
  CHECK(backward() == actual);
}

/// Lengths around every tile's edge, at each compiled head size and some between.
const Case kWhole[] = {
    {whole({1}), 1, 1, 2},          {whole({2, 1, 17}), 3, 1, 10}, {whole({5, 0, 7}), 2, 2, 33},
    {whole({63, 0, 65}), 3, 1, 64}, {whole({130, 64}), 4, 1, 64},  {whole({17, 65}), 3, 3, 80},
    {whole({64, 2}), 2, 2, 96},     {whole({130}), 3, 1, 128},     {whole({65, 1}), 2, 1, 256},
};

/// Windows shorter and longer than tiles, blocks and documents, and caps that change every score.
const Case kLimited[] = {
    {whole({5}), 1, 1, 4, 1, 0},
    {whole({17, 1, 40}), 3, 1, 10, 7, 2},
    {whole({63, 0, 165}), 2, 1, 64, 20, 0},
    {whole({190}), 2, 2, 64, 65, 1.5},
    {whole({70, 31}), 2, 1, 80, 0, 3},
    {whole({150}), 2, 1, 128, 33, 2},
    {whole({40, 3}), 1, 1, 256, 9, 2},
    {{{33, 95}, {4, 4}}, 4, 1, 32, 30, 2},
    {{{9, 4}, {3, 0}, {70, 131}}, 2, 1, 16, 3, 0},
};

/// More keys than queries, and fewer: then the first queries see nothing.
const Case kUneven[] = {
    {{{5, 23}, {1, 9}, {0, 4}}, 3, 3, 7},
    {{{33, 95}, {4, 4}}, 4, 1, 64},
    {{{70, 131}}, 2, 2, 128},
    {{{9, 4}, {3, 0}, {2, 2}}, 2, 1, 16},
};

/// One query per document: the path that splits keys, into one part, a few, and the maximum.
const Case kDecode[] = {
    {{{1, 1023}}, 2, 1, 64},
    {{{1, 2049}, {1, 3}}, 5, 1, 33},
    {{{1, 4999}}, 1, 1, 16},
    {{{1, 1}}, 1, 1, 2},
    {{{1, 37}, {1, 600}}, 4, 4, 64},
    {{{1, 300}, {0, 5}, {1, 0}, {1, 65}}, 9, 3, 80},
    {{{1, 129}}, 6, 1, 128},
    {{{2, 77}, {0, 0}}, 3, 1, 256},
    {{{1, 700}}, 4, 1, 10},
    {{{1, 700}}, 4, 1, 10, 5, 0},
    {{{1, 900}, {1, 30}}, 3, 1, 64, 333, 2},
    {{{1, 90}}, 2, 2, 32, 0, 1},
};

void lseMayBeAbsent() {
  TestContext test;
  for (const Case& shape : {kWhole[1], kDecode[1]}) {
    const Inputs inputs(shape, DType::bf16);
    const Device device(shape, inputs, DType::bf16, kLayouts[0]);
    forward(test.context, shape, device, false);
    CHECK(close("out without lse", DType::bf16, device.out.get(), reference(shape, inputs).out, 0x1p-8));
    for (const double value : device.lse.get()) CHECK(std::isnan(value));
  }
}

void nothingIsNothing() {
  for (const DType type : kFloats) {
    checkForward({{}, 2, 1, 8}, type, kLayouts[0]);
    checkForward({{{0, 3}}, 2, 1, 8}, type, kLayouts[0]);
    checkBackward({{}, 2, 1, 8}, type, kLayouts[0]);
    checkBackward({{{0, 3}}, 2, 1, 8}, type, kLayouts[0]);
  }
}

/// Offsets that do not match the tensors are reported, and nothing outside the tensors is read or written.
[[maybe_unused]] void reportsOffsets() {
  const Case shape{whole({40, 70, 23}), 2, 1, 16};
  const Case decode{{{1, 40}, {1, 70}, {1, 23}}, 2, 1, 16};
  struct Wrong {
    Values queries, keys;
    int64_t position, value, limit;
  };
  const auto reports = [](const Case& right, const Wrong& wrong, bool backwardToo) {
    TestContext test;
    const Inputs inputs(right, DType::f32);
    const Device device(right, inputs, DType::f32, kLayouts[1]);
    device.queryOffsets.set(wrong.queries);
    device.keyOffsets.set(wrong.keys);
    forward(test.context, right, device);
    const cuda::DeviceReport report = test.takeReport();
    CHECK(report.operation == static_cast<int32_t>(Operation::attention));
    CHECK(report.position == wrong.position && report.value == wrong.value && report.limit == wrong.limit);
    const StreamError error = cuda::errorOf(report);
    CHECK(error.status == Status::failed && std::string(error.operation) == "attention");
    CHECK(std::string(error.message).find("attention expected offsets") == 0);
    if (backwardToo)
      cuda::attentionBackward(test.context, device.dOut, device.q, device.k, device.v, device.out, device.lse,
                              device.queryOffsets, device.keyOffsets, right.scoring(), device.dQ, device.dK, device.dV);
    for (const DeviceTensor* tensor : {&device.out, &device.lse, &device.dQ, &device.dK, &device.dV}) tensor->get();
  };
  const Values right{0, 40, 110, 133};
  const double far = 2147483647;
  const Wrong wrongs[] = {
      {{0, 40, 110, 132}, right, 3, 132, 133},
      {{5, 40, 110, 133}, right, 0, 5, 133},
      {right, {-far, 40, 110, 133}, 0, -2147483647, 133},
      {right, {0, 40, 110, far}, 3, 2147483647, 133},
      {{0, -1, 110, 133}, right, 1, -1, 133},
      {right, {0, 40, 39, 133}, 2, 39, 133},
      {{far, far, far, 133}, right, 0, 2147483647, 133},
  };
  for (const Wrong& wrong : wrongs) reports(shape, wrong, true);
  reports(decode, {{0, 1, 2, 3}, {0, 40, 110, 134}, 3, 134, 133}, false);
  reports(decode, {{0, 1, 2, 2}, right, 3, 2, 3}, false);
}

}  // namespace
}  // namespace mora::test

int main() {
  using namespace mora::test;
  for (const mora::DType type : kFloats) {
    size_t turn = 0;  // pairs every case with one of the layouts, alternating types
    const auto checkBoth = [&](const auto& shapes) {
      for (const Case& shape : shapes) {
        const Layout layout = kLayouts[(turn++ + static_cast<size_t>(type)) % std::size(kLayouts)];
        checkForward(shape, type, layout);
        checkBackward(shape, type, layout);
      }
    };
    checkBoth(kWhole);
    checkBoth(kUneven);
    checkBoth(kLimited);
    for (const auto& shape : kDecode) {
      for (const Layout layout : kLayouts) checkForward(shape, type, layout);
      checkForward(shape, type, kLayouts[0], 132);  // the largest number of parts for these keys
    }
  }
  lseMayBeAbsent();
  nothingIsNothing();
#if !defined(__SANITIZE_THREAD__)
  // Wrong offsets make documents overlap: then blocks may write the same rows, which is no race of the kernels.
  reportsOffsets();
#endif
  return finish();
}
