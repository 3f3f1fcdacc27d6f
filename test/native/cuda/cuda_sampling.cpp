// Argmax and sampling of CUDA against float64, over types, sizes, layouts and limits.
#include <numeric>

#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

constexpr double kInfinity = INFINITY;

/// Normal numbers; every third one is rounded, so that some are equal, every seventh is -inf.
Values logitsOf(DType type, int64_t count, unsigned seed) {
  Values logits = normal(type, count, seed, 3);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (i % 3 == 0) logits[i] = std::round(logits[i]);
    if (i % 7 == 5) logits[i] = -kInfinity;
  }
  return logits;
}

double argmaxOf(const Values& row) {
  return static_cast<double>(std::max_element(row.begin(), row.end()) - row.begin());
}

/// The reference: tokens in order of likelihood, cut by topK, then by topP, then sampled.
double drawnOf(const Values& row, double uniform, const Sampling& sampling) {
  const double largest = *std::max_element(row.begin(), row.end());
  const auto weight = [&](size_t id) { return std::exp((row[id] - largest) / sampling.temperature); };
  std::vector<size_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), size_t{0});
  const auto total = [&] {
    return std::accumulate(ids.begin(), ids.end(), 0.0, [&](double sum, size_t id) { return sum + weight(id); });
  };
  const bool limited = sampling.topK > 0 && sampling.topK < static_cast<int64_t>(row.size());
  if (limited || sampling.topP < 1)
    std::stable_sort(ids.begin(), ids.end(), [&](size_t a, size_t b) { return row[a] > row[b]; });
  if (limited) ids.resize(static_cast<size_t>(sampling.topK));
  if (sampling.topP < 1) {
    const double wanted = sampling.topP * total();
    size_t kept = 0;
    for (double sum = 0; kept < ids.size() && sum < wanted;) sum += weight(ids[kept++]);
    ids.resize(std::max<size_t>(kept, 1));
  }
  double left = uniform * total();
  for (const size_t id : ids)
    if ((left -= weight(id)) < 0) return static_cast<double>(id);
  return -1;
}

struct Size {
  int64_t rows, columns;
};

void choosesAsExpected(cuda::Context& context, DType type, Size size, const std::vector<Sampling>& samplings,
                       Layout layout) {
  const auto [rows, columns] = size;
  const Values logits = logitsOf(type, rows * columns, 3);
  const DeviceTensor deviceLogits(type, {rows, columns}, logits, layout);
  const DeviceTensor ids(DType::i32, {rows}, Values(static_cast<size_t>(rows), -77));
  const auto rowAt = [&](size_t row) {
    const auto begin = logits.begin() + static_cast<int64_t>(row) * columns;
    return Values(begin, begin + columns);
  };
  Values expected(static_cast<size_t>(rows));
  for (size_t row = 0; row < expected.size(); ++row) expected[row] = argmaxOf(rowAt(row));
  cuda::argmax(context, deviceLogits, ids);
  CHECK(ids.get() == expected);

  std::mt19937 generator(9);
  for (const Sampling& sampling : samplings) {
    Values draws(expected.size());
    for (size_t row = 0; row < draws.size(); ++row) {
      const double uniform = (static_cast<double>(generator()) + 0.5) * 0x1p-32;
      draws[row] = uniform * 0x1p53;
      expected[row] = drawnOf(rowAt(row), uniform, sampling);
    }
    const DeviceTensor deviceDraws(DType::i64, {rows}, draws);
    cuda::sample(context, deviceLogits, deviceDraws, sampling, ids);
    CHECK(ids.get() == expected);
  }
}

// A row without a largest logit returns the column to blame, from sampling, too.
void tellsWhatIsNotFinite(cuda::Context& context, DType type) {
  const double none = -kInfinity;
  const Values logits{0, NAN, kInfinity, 1, 2, 3, 4, kInfinity, none, none, none, none, none, -5, none, -0.0};
  const DeviceTensor deviceLogits(type, {4, 4}, logits), ids(DType::i32, {4}, Values(4));
  const Values expected{-2, -4, -1, 3};
  cuda::argmax(context, deviceLogits, ids);
  CHECK(ids.get() == expected);
  const DeviceTensor draws(DType::i64, {4}, Values(4, 0x1p52));
  for (const Sampling sampling : {Sampling{1, 0, 1}, Sampling{1, 2, 0.9}}) {
    ids.set(Values(4));
    cuda::sample(context, deviceLogits, draws, sampling, ids);
    CHECK(ids.get() == expected);
  }
}

// Equal logits are ordered by column, whichever limit cuts between them.
void equalOnesComeInOrder(cuda::Context& context) {
  constexpr int64_t kRows = 40, kColumns = 100;
  Values draws(kRows), expected(kRows);
  for (size_t row = 0; row < draws.size(); ++row) draws[row] = (static_cast<double>(row) + 0.5) / kRows * 0x1p53;
  const DeviceTensor logits(DType::f32, {kRows, kColumns}, Values(kRows * kColumns, 1.5));
  const DeviceTensor deviceDraws(DType::i64, {kRows}, draws), ids(DType::i32, {kRows}, Values(kRows));
  for (const auto& [sampling, kept] : {std::pair{Sampling{1, 0, 1}, 100.0},
                                       {Sampling{1, 10, 1}, 10.0},
                                       {Sampling{1, 0, 0.25}, 25.0},
                                       {Sampling{1, 10, 0.5}, 5.0},
                                       {Sampling{1, 0, 0.251}, 26.0},
                                       {Sampling{1, 1000, 1e-9}, 1.0}}) {
    for (size_t row = 0; row < draws.size(); ++row) expected[row] = std::floor(draws[row] * 0x1p-53 * kept);
    cuda::sample(context, logits, deviceDraws, sampling, ids);
    CHECK(ids.get() == expected);
  }
}

// Temperatures near zero select the likeliest token; huge ones make all allowed tokens equally likely.
void takesExtremeTemperatures(cuda::Context& context) {
  const DeviceTensor logits(DType::f32, {1, 4}, {-3e38, 1, -kInfinity, 2}), ids(DType::i32, {1}, {0});
  const DeviceTensor draw(DType::i64, {1}, {0x1p52});
  for (const double temperature : {1e-300, 1e-30, 1e-3}) {
    cuda::sample(context, logits, draw, {temperature, 0, 1}, ids);
    CHECK(ids.get()[0] == 3);
  }
  const DeviceTensor even(DType::f32, {1, 4}, {-5, 5, -kInfinity, 7});
  for (const double temperature : {1e12, 1e300}) {
    cuda::sample(context, even, draw, {temperature, 0, 1}, ids);
    CHECK(ids.get()[0] == 1);
  }
}

void reportsDraws(TestContext& test) {
  const DeviceTensor logits(DType::f32, {3, 4}, Values(12)), ids(DType::i32, {3}, Values(3));
  const DeviceTensor draws(DType::i64, {3}, {0, -1, 5});
  cuda::sample(test.context, logits, draws, {1, 0, 1}, ids);
  const cuda::DeviceReport report = test.takeReport();
  CHECK(report.operation == static_cast<int32_t>(mora::Operation::sample));
  CHECK(report.position == 1 && report.value == -1);
  draws.set({0, 3, 0x1p53});
  cuda::sample(test.context, logits, draws, {1, 0, 1}, ids);
  CHECK(test.takeReport().position == 2);
}

}  // namespace

int main() {
  TestContext test;
  const std::vector<Sampling> samplings{{1, 0, 1},    {0.4, 0, 0.9}, {1.5, 20, 1},
                                        {2, 0, 0.98}, {1, 31, 0.7},  {50, 0, 0.5}};
  for (const DType type : kFloats) {
    for (const Size size : {Size{1, 1}, {3, 5}, {7, 64}, {4, 1000}, {3, 4099}, {0, 8}})
      for (const Layout layout : kLayouts) choosesAsExpected(test.context, type, size, samplings, layout);
    tellsWhatIsNotFinite(test.context, type);
  }
  choosesAsExpected(test.context, DType::f32, {2, 32001}, {samplings[1], samplings[4]}, kLayouts[0]);
  equalOnesComeInOrder(test.context);
  takesExtremeTemperatures(test.context);
  reportsDraws(test);
  return finish();
}
