// Rotation, decoupling and truncation on the device against their definition in float64: x continued by itself, cut
// into blocks, each through M R_b, results one after the other, tiled or cut at d (or folded onto the first outputs).
#include <algorithm>

#include "cuda/devices.h"
#include "cuda/kernels.h"
#include "cuda/products.h"
#include "cuda_fixture.h"
#include "mora/block_operations.h"

using namespace mora;
using namespace mora::test;

namespace {

enum class Kind { rotate, decouple, truncate, fold };

BlockPlan planOf(int64_t k, int64_t d, int64_t side, Kind kind) {
  return {k, d, side, kind == Kind::rotate || kind == Kind::fold, kind == Kind::truncate, kind == Kind::fold};
}

// Halves that are multiples of 8, 4, 2 and 1; whole and ragged blocks; repeated and cut outputs; R = k and beyond.
const BlockPlan kPlans[] = {
    planOf(48, 48, 16, Kind::rotate),  planOf(13, 11, 4, Kind::rotate),    planOf(13, 45, 4, Kind::rotate),
    planOf(40, 11, 6, Kind::rotate),   planOf(24, 50, 8, Kind::rotate),    planOf(5, 17, 8, Kind::rotate),
    planOf(3, 10, 8, Kind::rotate),    planOf(3, 5, 10, Kind::rotate),     planOf(1, 1, 2, Kind::rotate),
    planOf(13, 45, 5, Kind::decouple), planOf(17, 9, 7, Kind::decouple),   planOf(2, 3, 7, Kind::decouple),
    planOf(9, 14, 5, Kind::truncate),  planOf(3, 4, 7, Kind::truncate),    planOf(9, 3, 5, Kind::truncate),
    planOf(13, 5, 4, Kind::fold),      planOf(40, 11, 6, Kind::fold),      planOf(13, 45, 4, Kind::fold),
    planOf(7, 3, 10, Kind::fold),      planOf(190, 134, 36, Kind::rotate), planOf(72, 120, 20, Kind::rotate),
};

std::string describe(const BlockPlan& plan) {
  return std::to_string(plan.inFeatures) + " to " + std::to_string(plan.outFeatures) + ", side " +
         std::to_string(plan.side) +
         (plan.truncate     ? ", truncation"
          : plan.foldOutput ? ", folded rotation"
          : plan.rotate     ? ", rotation"
                            : ", decoupling");
}

/// Calls visit(output, input, index in the folded blocks) for every term of y = delta W x.
template <typename Visit>
void forTerms(const BlockPlan& plan, Visit&& visit) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side, whole = plan.blocks() * R;
  const auto visitPosition = [&](int64_t output, int64_t position) {
    for (int64_t column = 0; column < R; ++column) {
      const int64_t input = position / R * R + column;
      if (!plan.truncate || input < k) visit(output, input % k, static_cast<size_t>(position * R + column));
    }
  };
  if (plan.foldOutput && whole > d) {
    for (int64_t position = 0; position < whole; ++position) visitPosition(position % d, position);
  } else {
    for (int64_t output = 0; output < (plan.truncate ? std::min(R, d) : d); ++output)
      visitPosition(output, output % whole);
  }
}

/// Calls visit(block, row, j, j + R/2, cosine, sine) for every pair of the folded blocks.
template <typename Visit>
void forPairs(const BlockPlan& plan, Visit&& visit) {
  const int64_t R = plan.side, half = R / 2;
  for (int64_t b = 0; b < plan.liveBlocks(); ++b)
    for (int64_t i = 0; i < R; ++i)
      for (int64_t j = 0; j < half; ++j) {
        const double angle =
            static_cast<double>(b) * std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(R));
        visit(static_cast<size_t>(b * R * R), static_cast<size_t>(i * R + j), static_cast<size_t>(i * R + j + half),
              std::cos(angle), std::sin(angle));
      }
}

void folds(cuda::Context& context, const BlockPlan& plan) {
  const int64_t R = plan.side, n = plan.liveBlocks();
  const Values matrix = normal(DType::f32, R * R, 1);
  const DeviceTensor from(DType::f32, {R, R}, matrix);
  for (const DType type : kFloats) {
    Values expected;
    for (int64_t b = 0; b < n; ++b) expected.insert(expected.end(), matrix.begin(), matrix.end());
    if (plan.rotate)
      forPairs(plan, [&](size_t block, size_t low, size_t high, double cosine, double sine) {
        expected[block + low] = matrix[low] * cosine + matrix[high] * sine;
        expected[block + high] = matrix[high] * cosine - matrix[low] * sine;
      });
    const DeviceTensor folded(type, {n, R, R}, Values(expected.size(), NAN));
    cuda::foldBlocks(context, plan, from, folded);
    CHECK(close("foldBlocks, " + describe(plan), type, folded.get(), expected));
  }
}

void unfolds(cuda::Context& context, const BlockPlan& plan, bool accumulate) {
  const int64_t R = plan.side, n = plan.liveBlocks();
  const Values gradient = normal(DType::f32, n * R * R, 2), before = normal(DType::f32, R * R, 3);
  Values expected = accumulate ? before : Values(before.size(), 0);
  const DeviceTensor from(DType::f32, {n, R, R}, gradient);
  const DeviceTensor dMatrix(DType::f32, {R, R}, accumulate ? before : Values(before.size(), NAN));
  if (plan.rotate)
    forPairs(plan, [&](size_t block, size_t low, size_t high, double cosine, double sine) {
      expected[low] += gradient[block + low] * cosine - gradient[block + high] * sine;
      expected[high] += gradient[block + high] * cosine + gradient[block + low] * sine;
    });
  else
    for (size_t i = 0; i < gradient.size(); ++i) expected[i % expected.size()] += gradient[i];
  cuda::unfoldBlocks(context, plan, from, dMatrix, accumulate);
  CHECK(close("unfoldBlocks, " + describe(plan), DType::f32, dMatrix.get(), expected, 3e-6));
}

struct Operands {
  DType type;
  int64_t tokens;
  bool accumulate;
  Layout layout;
};

/// Results pass through the type between products, so they may be off by a few of its roundings.
double slackOf(DType type) { return type == DType::f32 ? 1e-5 : 0.02; }

void multiplies(cuda::Context& context, const BlockPlan& plan, const Operands& of) {
  const auto [type, T, accumulate, layout] = of;
  const int64_t k = plan.inFeatures, d = plan.outFeatures, n = plan.liveBlocks(), R = plan.side;
  const Values x = normal(type, T * k, 4), dY = normal(type, T * d, 5), folded = normal(type, n * R * R, 6);
  Values y = normal(type, T * d, 7), dX = normal(type, T * k, 8), dFolded(folded.size(), 0);
  const DeviceTensor toY(type, {T, d}, y, layout), toX(type, {T, k}, dX, layout);
  const DeviceTensor toFolded(DType::f32, {n, R, R}, Values(folded.size(), NAN));
  const DeviceTensor fromX(type, {T, k}, x, layout), fromY(type, {T, d}, dY, layout), blocks(type, {n, R, R}, folded);
  if (!accumulate) {
    std::fill(y.begin(), y.end(), 0);
    std::fill(dX.begin(), dX.end(), 0);
  }
  for (int64_t t = 0; t < T; ++t)
    forTerms(plan, [&](int64_t output, int64_t input, size_t at) {
      const auto atY = static_cast<size_t>(t * d + output), atX = static_cast<size_t>(t * k + input);
      y[atY] += x[atX] * folded[at];
      dX[atX] += dY[atY] * folded[at];
      dFolded[at] += dY[atY] * x[atX];
    });
  cuda::blocksForward(context, plan, fromX, blocks, toY, accumulate);
  CHECK(close("blocksForward, " + describe(plan), type, toY.get(), y, slackOf(type)));
  cuda::blocksBackwardInput(context, plan, fromY, blocks, toX, accumulate);
  CHECK(close("blocksBackwardInput, " + describe(plan), type, toX.get(), dX, slackOf(type)));
  cuda::blocksBackwardWeight(context, plan, fromX, fromY, toFolded);
  CHECK(close("blocksBackwardWeight, " + describe(plan), DType::f32, toFolded.get(), dFolded, slackOf(type)));
}

/// Counts what a plan asks for.
struct CountingOperations {
  int64_t multiplications = 0, copies = 0, sums = 0;

  void matmul(const TensorDesc& a, bool transposeA, const TensorDesc&, bool, const TensorDesc& c, bool) {
    multiplications += c.shape[0] * c.shape[1] * c.shape[2] * a.shape[transposeA ? 1 : 2];
  }
  void zero(const TensorDesc&) {}
  void groupSum(const Grouping&, const TensorDesc&, const TensorDesc&) { ++sums; }
  void groupSpread(const Grouping&, const TensorDesc&, const TensorDesc&) { ++copies; }
  void* scratch(size_t) { return nullptr; }
};

/// Dead blocks are not computed, nor repeated outputs: they are copied, and their gradients summed, once.
void doesNothingTwice(const BlockPlan& plan) {
  if (plan.truncate || plan.foldOutput) return;
  constexpr int64_t T = 3;
  const int64_t k = plan.inFeatures, d = plan.outFeatures, n = plan.liveBlocks(), R = plan.side;
  const int64_t needed = T * plan.distinctOutputs() * R, repeats = d > plan.distinctOutputs() ? 1 : 0;
  const TensorDesc x{nullptr, DType::f32, 2, {T, k}, {k, 1}}, y{nullptr, DType::f32, 2, {T, d}, {d, 1}};
  const TensorDesc folded{nullptr, DType::f32, 3, {n, R, R}, {R * R, R, 1}};
  CountingOperations forward, input, weight;
  multiplyBlocks(forward, plan, x, folded, y, false);
  CHECK(forward.multiplications == needed && forward.copies == repeats);
  multiplyBlocksTransposed(input, plan, y, folded, x, false);
  CHECK(input.multiplications == needed && input.sums == repeats);
  multiplyBlockGradients(weight, plan, x, distinctGradient(weight, plan, y, y.dtype), folded, false);
  CHECK(weight.multiplications == needed && weight.sums == repeats);
}

void merges(cuda::Context& context, const BlockPlan& plan) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, n = plan.liveBlocks(), R = plan.side;
  const Values folded = normal(DType::f32, n * R * R, 9);
  const DeviceTensor blocks(DType::f32, {n, R, R}, folded);
  for (const DType type : kFloats)
    for (const Layout& layout : kLayouts) {
      Values weight = normal(type, d * k, 10);
      weight[0] = weight.back() = -INFINITY;
      const DeviceTensor on(type, {d, k}, weight, layout), nonFinite(DType::i32, {1}, {5});
      std::vector<bool> reached(weight.size());
      forTerms(plan, [&](int64_t output, int64_t input, size_t at) {
        const auto index = static_cast<size_t>(output * k + input);
        weight[index] += 0.25 * folded[at];
        reached[index] = true;
      });
      double infinite = 0;  // of what blocks reach
      for (size_t i = 0; i < weight.size(); ++i) infinite += reached[i] && std::isinf(weight[i]) ? 1 : 0;
      cuda::mergeBlocks(context, plan, blocks, 0.25f, on, nonFinite);
      CHECK(close("mergeBlocks, " + describe(plan), type, on.get(), weight));
      CHECK(nonFinite.get() == Values{5.0 + infinite});
    }
  Values weight = normal(DType::f32, d * k, 11);
  const DeviceTensor on(DType::f32, {d, k}, weight);
  forTerms(plan, [&](int64_t output, int64_t input, size_t at) {
    weight[static_cast<size_t>(output * k + input)] -= folded[at];
  });
  cuda::mergeBlocks(context, plan, blocks, -1, on, TensorDesc{});
  CHECK(close("mergeBlocks without a count, " + describe(plan), DType::f32, on.get(), weight));
}

}  // namespace

int main() {
  TestContext test;
  void* const workspace = test.context.kept({0, 0, 0}, cuda::Products::kWorkspace).data;
  test.context.products = new cuda::Products(cuda::cublas(), test.context.stream, workspace);
  int index = 0;
  for (const BlockPlan& plan : kPlans) {
    folds(test.context, plan);
    for (const bool accumulate : {false, true}) unfolds(test.context, plan, accumulate);
    doesNothingTwice(plan);
    merges(test.context, plan);
    for (const DType type : kFloats)
      for (const int64_t tokens : {0, 1, 5}) {
        ++index;
        multiplies(test.context, plan, {type, tokens, index % 2 == 0, kLayouts[index % 3]});
        multiplies(test.context, plan, {type, tokens, index % 2 == 1, kLayouts[(index + 1) % 3]});
      }
  }
  return finish();
}
