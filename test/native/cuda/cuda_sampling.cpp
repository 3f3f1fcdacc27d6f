// Argmax, sampling and what surrounds it in every float type and layout, with any limits, and invalid indices.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

/// Every third logit is rounded, so that some are equal, every seventh is -inf.
Operand logitsOf(const Shape& shape) {
  Operand logits = reads(shape, 3, 3);
  for (size_t i = 0; i < logits.values.size(); ++i) {
    if (i % 3 == 0) logits.values[i] = std::round(logits.values[i]);
    if (i % 7 == 5) logits.values[i] = -INFINITY;
  }
  return logits;
}

void chooses(cuda::Context& context, const Shape& shape) {
  const Operand logits = logitsOf(shape);
  const Operand ids = fixed(DType::i32, {shape[0]}, Values(static_cast<size_t>(shape[0]), -77)).overwritten();
  expectAlike(
      "argmax", {logits, ids}, [&](const Views& t) { cuda::argmax(context, t[0], t[1]); }, kExact);
  std::mt19937 generator(9);
  for (const Sampling& sampling : {Sampling{1, 0, 0, 1, 1},
                                   {0.4f, 0, 0, 0.9f, 1},
                                   {1.5f, 0, 20, 1, 1},
                                   {2, 0, 0, 0.98f, 1},
                                   {1, 0, 31, 0.7f, 1},
                                   {50, 0, 0, 0.5f, 1},
                                   {0, 0, 0, 1, 1},
                                   {1, 0.05f, 0, 1, 1},
                                   {1, 0, 0, 1, 0.6f},
                                   {1.3f, 0.01f, 40, 0.9f, 0.8f}}) {
    Values draws(static_cast<size_t>(shape[0])), settings;
    for (double& draw : draws) draw = (static_cast<double>(generator()) + 0.5) * 0x1p21;
    for (int64_t row = 0; row < shape[0]; ++row)
      for (const float value : {sampling.temperature, sampling.minP, sampling.topK, sampling.topP, sampling.typicalP})
        settings.push_back(value);
    expectAlike(
        "sample",
        {logits, fixed(DType::i64, {shape[0]}, draws), fixed(DType::f32, {shape[0], Sampling::kFields}, settings), ids},
        [&](const Views& t) { cuda::sample(context, t[0], t[1], t[2], t[3]); }, kExact);
  }
}

/// Every third column of every row is changed, and every second row masked.
void changesLogits(cuda::Context& context, const Shape& shape) {
  const Operand logits = logitsOf(shape).as(DType::f32).overwritten();
  Values offsets{0}, ids, rows;
  for (int64_t row = 0; row < shape[0]; ++row) {
    for (int64_t id = row % 3; id < shape[1]; id += 3) ids.push_back(static_cast<double>(id));
    offsets.push_back(static_cast<double>(ids.size()));
    if (row % 2 == 1) rows.push_back(static_cast<double>(row));
  }
  const auto count = static_cast<int64_t>(ids.size()), masked = static_cast<int64_t>(rows.size());
  Values changes = exact(3 * count, 4);
  for (double& change : changes) change = std::abs(change) + 0.5;
  expectAlike("editLogits",
              {fixed(DType::i32, {shape[0] + 1}, offsets), fixed(DType::i32, {count}, ids),
               fixed(DType::f32, {count, 3}, changes), logits},
              [&](const Views& t) { cuda::editLogits(context, t[0], t[1], t[2], t[3]); });
  std::mt19937 generator(5);
  const int64_t words = (shape[1] + 31) / 32;
  Values mask(static_cast<size_t>(masked * words));
  for (double& word : mask) word = static_cast<int32_t>(generator());
  expectAlike(
      "maskLogits", {fixed(DType::i32, {masked, words}, mask), fixed(DType::i32, {masked}, rows), logits},
      [&](const Views& t) { cuda::maskLogits(context, t[0], t[1], t[2]); }, kExact);
}

void ranks(cuda::Context& context, const Shape& shape) {
  const int64_t most = std::min<int64_t>(shape[1], 6);
  Values ids;
  for (int64_t row = 0; row < shape[0]; ++row) ids.push_back(static_cast<double>((7 * row + 3) % shape[1]));
  expectAlike(
      "logProbabilities",
      {logitsOf(shape).as(DType::f32), fixed(DType::i32, {shape[0]}, ids), output({shape[0]}).as(DType::i32).dense(),
       output({shape[0], most}).as(DType::i32), output({shape[0], 1 + most}).as(DType::f32)},
      [&](const Views& t) { cuda::logProbabilities(context, t[0], t[1], t[2], t[3], t[4]); });
}

void reportsIndices(TestContext& test) {
  const DeviceTensor logits(DType::f32, {3, 4}, Values(12)), ids(DType::i32, {3}, Values(3));
  const DeviceTensor settings(DType::f32, {3, Sampling::kFields}, {1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1});
  const DeviceTensor draws(DType::i64, {3}, {0, -1, 5});
  cuda::sample(test.context, logits, draws, settings, ids);
  const cuda::DeviceReport report = test.takeReport();
  CHECK(report.operation == static_cast<int32_t>(mora::Operation::sample));
  CHECK(report.position == 1 && report.value == -1);
  draws.set({0, 3, 0x1p53});
  cuda::sample(test.context, logits, draws, settings, ids);
  CHECK(test.takeReport().position == 2);

  const DeviceTensor offsets(DType::i32, {4}, {0, 1, 2, 3}), changes(DType::f32, {3, 3}, Values(9, 1));
  ids.set({0, 3, 4});
  cuda::editLogits(test.context, offsets, ids, changes, logits);
  CHECK(test.takeReport().position == 2);
  ids.set({0, 3, 1});
  offsets.set({0, 2, 1, 3});
  cuda::editLogits(test.context, offsets, ids, changes, logits);
  CHECK(test.takeReport().position == 2);
  const DeviceTensor mask(DType::i32, {3, 1}, Values(3));
  cuda::maskLogits(test.context, mask, ids, logits);
  CHECK(test.takeReport().operation == static_cast<int32_t>(mora::Operation::maskLogits));
  const DeviceTensor ranks(DType::i32, {3}, Values(3)), top(DType::i32, {3, 1}, Values(3));
  const DeviceTensor logprobs(DType::f32, {3, 2}, Values(6));
  ids.set({0, 3, 4});
  cuda::logProbabilities(test.context, logits, ids, ranks, top, logprobs);
  CHECK(test.takeReport().value == 4);
}

const Shape kShapes[] = {{1, 1}, {3, 5}, {7, 64}, {4, 1000}, {3, 4099}, {2, 32001}, {0, 8}};

}  // namespace

int main() {
  TestContext test;
  for (const Shape& shape : kShapes) {
    chooses(test.context, shape);
    changesLogits(test.context, shape);
    ranks(test.context, shape);
  }
  reportsIndices(test);
  return finish();
}
