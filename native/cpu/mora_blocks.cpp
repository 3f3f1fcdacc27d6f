// Rotation, decoupling and truncation (mora/geometry.h): the rotation is folded into the matrix, products run in place
// over the blocks of x and y (mora/block_operations.h), and merging gathers.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/parallel.h"
#include "mora/block_operations.h"

namespace mora::cpu {
namespace {

/// What the plan of mora/block_operations.h is made of here.
struct CpuOperations {
  static void matmul(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                     bool accumulate) {
    cpu::matmul(a, transposeA, b, transposeB, c, 1, accumulate);
  }
  static void zero(const TensorDesc& target) { fill(target, 0); }
  static void groupSpread(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target,
                          bool accumulate) {
    cpu::groupSpread(grouping, source, target, accumulate);
  }
  static void groupSum(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target) {
    cpu::groupSum(grouping, source, target, false);
  }
  static void* scratch(size_t bytes) { return cpu::scratch<10>(bytes); }
};

/// Rows [begin, begin + rows) of a matrix.
TensorDesc rowRange(const TensorDesc& matrix, int64_t begin, int64_t rows) {
  TensorDesc part = matrix;
  part.data = static_cast<std::byte*>(matrix.data) + begin * matrix.strides[0] * traitsOf(matrix.dtype).blockBytes;
  part.shape[0] = rows;
  return part;
}

struct Rotation {
  std::vector<float> cosines, sines;  // [live blocks, R / 2]

  explicit Rotation(const BlockPlan& plan) {
    std::vector<double> thetas;
    for (int64_t j = 0; j < plan.side / 2; ++j)
      thetas.push_back(std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(plan.side)));
    for (int64_t b = 0; b < plan.liveBlocks(); ++b)
      for (const double theta : thetas) {
        cosines.push_back(static_cast<float>(std::cos(static_cast<double>(b) * theta)));
        sines.push_back(static_cast<float>(std::sin(static_cast<double>(b) * theta)));
      }
  }
};

/// Values of the folded blocks that are added to `count` columns of a weight's row.
struct Run {
  int64_t column, count;
  const float* values;
};

/// row += scale times the runs, sorted by column; how many results are not finite, if asked. Where runs overlap, their
/// sum is made in `delta` first and rounded once.
template <typename Value>
int64_t addRuns(const std::vector<Run>& runs, float scale, Value* row, bool counts, std::vector<float>& delta) {
  int64_t found = 0;
  for (auto run = runs.begin(); run != runs.end();) {
    Run sum = *run++;
    if (run != runs.end() && run->column < sum.column + sum.count) {
      delta.assign(sum.values, sum.values + sum.count);
      for (; run != runs.end() && run->column < sum.column + sum.count; ++run) {
        sum.count = std::max(sum.count, run->column - sum.column + run->count);
        delta.resize(static_cast<size_t>(sum.count), 0.0f);
        float* const to = delta.data() + (run->column - sum.column);
        for (int64_t c = 0; c < run->count; ++c) to[c] += run->values[c];
      }
      sum.values = delta.data();
    }
    Value* const w = row + sum.column;
    for (int64_t c = 0; c < sum.count; ++c)
      w[c] = hwy::ConvertScalarTo<Value>(hwy::ConvertScalarTo<float>(w[c]) + scale * sum.values[c]);
    if (!counts) continue;
    found +=
        std::count_if(w, w + sum.count, [](Value value) { return !std::isfinite(hwy::ConvertScalarTo<float>(value)); });
  }
  return found;
}

}  // namespace

void foldBlocks(BlockPlan plan, TensorDesc matrix, TensorDesc folded) {
  const int64_t R = plan.side, half = R / 2;
  const Rotation rotation(plan);
  const auto* M = static_cast<const float*>(matrix.data);
  withFloatType(folded.dtype, "foldBlocks", [&](auto zero) {
    using Value = decltype(zero);
    auto* out = static_cast<Value*>(folded.data);
    parallelRanges(plan.liveBlocks() * R, R, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float *m = M + row % R * R, *c = &rotation.cosines[row / R * half], *s = &rotation.sines[row / R * half];
        Value* w = out + row * R;
        if (!plan.rotate) {
          for (int64_t j = 0; j < R; ++j) w[j] = hwy::ConvertScalarTo<Value>(m[j]);
          continue;
        }
        for (int64_t j = 0; j < half; ++j) {
          w[j] = hwy::ConvertScalarTo<Value>(m[j] * c[j] + m[j + half] * s[j]);
          w[j + half] = hwy::ConvertScalarTo<Value>(m[j + half] * c[j] - m[j] * s[j]);
        }
      }
    });
  });
}

void unfoldBlocks(BlockPlan plan, TensorDesc dFolded, TensorDesc dMatrix, bool accumulate) {
  const int64_t R = plan.side, half = R / 2;
  const Rotation rotation(plan);
  const auto* dW = static_cast<const float*>(dFolded.data);
  auto* dM = static_cast<float*>(dMatrix.data);
  parallelRanges(R, R * plan.liveBlocks(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* m = dM + row * R;
      if (!accumulate) std::fill_n(m, R, 0.0f);
      for (int64_t b = 0; b < plan.liveBlocks(); ++b) {
        const float *w = dW + (b * R + row) * R, *c = &rotation.cosines[b * half], *s = &rotation.sines[b * half];
        if (!plan.rotate) {
          for (int64_t j = 0; j < R; ++j) m[j] += w[j];
          continue;
        }
        for (int64_t j = 0; j < half; ++j) {
          m[j] += w[j] * c[j] - w[j + half] * s[j];
          m[j + half] += w[j + half] * c[j] + w[j] * s[j];
        }
      }
    }
  });
}

void blocksForward(BlockPlan plan, TensorDesc x, TensorDesc folded, TensorDesc y, bool accumulate) {
  CpuOperations operations;
  multiplyBlocks(operations, plan, x, folded, y, accumulate);
}

void blocksBackwardInput(BlockPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX, bool accumulate) {
  CpuOperations operations;
  multiplyBlocksTransposed(operations, plan, dY, folded, dX, accumulate);
}

void blocksBackwardWeight(BlockPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded) {
  // Blocks are too narrow for matmul to widen them one by one: here a tile of rows, widened once, serves all of them.
  const int64_t T = x.shape[0], k = plan.inFeatures;
  const DType dtype = x.dtype == DType::bf16 && hasFastBfloat16() ? DType::bf16 : DType::f32;
  const int64_t tile = x.dtype == dtype ? T : 512;
  CpuOperations operations;
  if (T == 0) fill(dFolded, 0);
  for (int64_t row = 0; row < T; row += tile) {
    const int64_t rows = std::min(tile, T - row);
    const TensorDesc gradient = distinctGradient(operations, plan, rowRange(dY, row, rows), dtype);
    TensorDesc input = rowRange(x, row, rows);
    if (input.dtype != dtype) {
      void* const memory = scratch<11>(static_cast<size_t>(rows * k * traitsOf(dtype).blockBytes));
      const TensorDesc wide{memory, dtype, 2, {rows, k}, {k, 1}};
      copy(input, wide, 1);
      input = wide;
    }
    multiplyBlockGradients(operations, plan, input, gradient, dFolded, row > 0);
  }
}

void mergeBlocks(BlockPlan plan, TensorDesc folded, float scale, TensorDesc weight, TensorDesc nonFinite) {
  const int64_t d = plan.outFeatures, R = plan.side;
  const int64_t distinct = plan.truncate ? d : plan.distinctOutputs();
  std::vector<BlockProduct> products;
  visitBlockProducts(plan, [&](const BlockProduct& product) { products.push_back(product); });
  const auto* W = static_cast<const float*>(folded.data);
  // What is added to row j of the weight, by column; wrap-around padding may lie over other runs.
  const auto runsOf = [&](int64_t j, std::vector<Run>& runs) {
    runs.clear();
    for (const BlockProduct& product : products) {
      const int64_t distance = j % distinct - product.output, i = distance < 0 ? -1 : distance / R;
      if (i < 0 || i >= product.count || distance % R >= product.rows) continue;
      const int64_t row = (product.block + i) * R + product.row + distance % R;
      runs.push_back({product.input + i * R, product.depth, W + row * R + product.column});
    }
    std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.column < b.column; });
  };
  std::atomic<int64_t> bad{0};
  withFloatType(weight.dtype, "mergeBlocks", [&](auto zero) {
    using Value = decltype(zero);
    parallelRanges(d, R, [&](int64_t begin, int64_t end) {
      std::vector<Run> runs;
      std::vector<float> delta;
      for (int64_t j = begin; j < end; ++j) {
        runsOf(j, runs);
        bad += addRuns(runs, scale, rowOf<Value>(weight, j), present(nonFinite), delta);
      }
    });
  });
  if (present(nonFinite)) *static_cast<int32_t*>(nonFinite.data) += static_cast<int32_t>(bad);
}

}  // namespace mora::cpu
