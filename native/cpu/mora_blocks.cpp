// Rotation, decoupling and truncation (mora/geometry.h): the rotation is folded into the matrix, and strided-batched
// products run in place over the blocks of x and y. No padded, rotated, cut or repeated copy of an activation is made.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

namespace mora::cpu {
namespace {

/// Columns [column, column + width) of rows [T, ..] as a batch of `count` matrices R columns apart.
TensorDesc columnBlocks(const TensorDesc& rows, int64_t column, int64_t width, int64_t count, int64_t side) {
  TensorDesc view = rows;
  view.data = static_cast<std::byte*>(rows.data) + column * traitsOf(rows.dtype).blockBytes;
  view.rank = 3;
  view.shape[0] = count, view.shape[1] = rows.shape[0], view.shape[2] = width;
  view.strides[0] = side, view.strides[1] = rows.strides[0], view.strides[2] = 1;
  return view;
}

/// The part of the folded matrices that a product uses: [count, rows, depth].
TensorDesc matrixBlocks(const TensorDesc& folded, const BlockProduct& product, int64_t side) {
  TensorDesc view = folded;
  const int64_t offset = (product.block * side + product.row) * side + product.column;
  view.data = static_cast<std::byte*>(folded.data) + offset * traitsOf(folded.dtype).blockBytes;
  view.shape[0] = product.count, view.shape[1] = product.rows, view.shape[2] = product.depth;
  return view;
}

int64_t repeatsOf(const BlockPlan& plan) {
  return plan.truncate ? 1 : (plan.outFeatures + plan.distinctOutputs() - 1) / plan.distinctOutputs();
}

void zeroColumns(const TensorDesc& rows, int64_t from, int64_t to) {
  if (from < to) fill(columnBlocks(rows, from, to - from, 1, 0), 0);
}

/// The product with its output moved by `shift` columns and cut at `limit`: at most two products.
template <typename Visit>
void visitShifted(BlockProduct product, int64_t shift, int64_t limit, int64_t side, Visit&& visit) {
  product.output += shift;
  int64_t whole = 0;
  while (whole < product.count && product.output + whole * side + product.rows <= limit) ++whole;
  BlockProduct part = product;
  part.count = whole;
  if (whole > 0) visit(part);
  if (whole == product.count || product.output + whole * side >= limit) return;
  part = product;
  part.output += whole * side, part.input += whole * side, part.block += whole;
  part.count = 1, part.rows = limit - part.output;
  visit(part);
}

/// Gradient of the distinct outputs: dY itself, or its sum over the repeats.
TensorDesc distinctGradient(const BlockPlan& plan, const TensorDesc& dY) {
  const int64_t distinct = plan.distinctOutputs();
  if (repeatsOf(plan) == 1) return dY;
  TensorDesc sums = dY;
  const int64_t T = dY.shape[0];
  sums.shape[1] = distinct, sums.strides[0] = distinct;
  sums.data = scratch<10>(static_cast<size_t>(T * distinct * traitsOf(dY.dtype).blockBytes));
  withActivationType(dY.dtype, "blocksBackward", [&](auto zero) {
    using Value = decltype(zero);
    parallelRanges(T, plan.outFeatures, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Value* from = rowOf<const Value>(dY, t);
        Value* to = rowOf<Value>(sums, t);
        for (int64_t j = 0; j < distinct; ++j) {
          float sum = 0;
          for (int64_t c = j; c < plan.outFeatures; c += distinct) sum += hwy::ConvertScalarTo<float>(from[c]);
          to[j] = hwy::ConvertScalarTo<Value>(sum);
        }
      }
    });
  });
  return sums;
}

struct Rotation {
  std::vector<float> cosines, sines;  // [live blocks, R / 2]

  explicit Rotation(const BlockPlan& plan) {
    const int64_t half = plan.side / 2, blocks = plan.liveBlocks();
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t j = 0; j < half; ++j) {
        const double theta = std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(plan.side));
        cosines.push_back(static_cast<float>(std::cos(static_cast<double>(b) * theta)));
        sines.push_back(static_cast<float>(std::sin(static_cast<double>(b) * theta)));
      }
  }
};

}  // namespace

void foldBlocks(BlockPlan plan, TensorDesc matrix, TensorDesc folded) {
  const int64_t R = plan.side, half = R / 2;
  const Rotation rotation(plan);
  const auto* M = static_cast<const float*>(matrix.data);
  withActivationType(folded.dtype, "foldBlocks", [&](auto zero) {
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

void unfoldBlocks(BlockPlan plan, TensorDesc dFolded, TensorDesc dMatrix) {
  const int64_t R = plan.side, half = R / 2;
  const Rotation rotation(plan);
  const auto* dW = static_cast<const float*>(dFolded.data);
  auto* dM = static_cast<float*>(dMatrix.data);
  parallelRanges(R, R * plan.liveBlocks(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* m = dM + row * R;
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
  const int64_t R = plan.side, distinct = plan.distinctOutputs(), repeats = repeatsOf(plan);
  const auto run = [&](const BlockProduct& product) {
    matmul(columnBlocks(x, product.input, product.depth, product.count, R), false, matrixBlocks(folded, product, R),
           true, columnBlocks(y, product.output, product.rows, product.count, R), 1, accumulate || !product.first);
  };
  // Repeats are copies of the first outputs, unless those hold more than the adapter's part.
  for (int64_t repeat = 0; repeat < (accumulate ? repeats : 1); ++repeat)
    visitBlockProducts(
        plan, [&](const BlockProduct& product) { visitShifted(product, repeat * distinct, plan.outFeatures, R, run); });
  if (accumulate) return;
  if (plan.truncate) return zeroColumns(y, std::min(R, plan.outFeatures), plan.outFeatures);
  for (int64_t at = distinct; at < plan.outFeatures; at += distinct) {
    const int64_t width = std::min(distinct, plan.outFeatures - at);
    copy(columnBlocks(y, 0, width, 1, 0), columnBlocks(y, at, width, 1, 0), 1);
  }
}

void blocksBackwardInput(BlockPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX, bool accumulate) {
  const int64_t R = plan.side;
  const TensorDesc gradient = distinctGradient(plan, dY);
  // Every live input is written once by its own block, before padding adds to it; with foldOutput more than once.
  const bool overwrite = !accumulate && !plan.foldOutput && !plan.truncate;
  if (!accumulate) zeroColumns(dX, overwrite ? std::min(plan.liveBlocks() * R, plan.inFeatures) : 0, plan.inFeatures);
  visitBlockProducts(plan, [&](const BlockProduct& product) {
    matmul(columnBlocks(gradient, product.output, product.rows, product.count, R), false,
           matrixBlocks(folded, product, R), false, columnBlocks(dX, product.input, product.depth, product.count, R), 1,
           !(overwrite && product.column == 0));
  });
}

void blocksBackwardWeight(BlockPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded) {
  const int64_t R = plan.side;
  const TensorDesc gradient = distinctGradient(plan, dY);
  fill(dFolded, 0);
  visitBlockProducts(plan, [&](const BlockProduct& product) {
    matmul(columnBlocks(gradient, product.output, product.rows, product.count, R), true,
           columnBlocks(x, product.input, product.depth, product.count, R), false, matrixBlocks(dFolded, product, R), 1,
           false);
  });
}

void mergeBlocks(BlockPlan plan, TensorDesc folded, float scale, TensorDesc weight, TensorDesc nonFinite) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side;
  const int64_t distinct = plan.truncate ? d : plan.distinctOutputs();
  std::vector<BlockProduct> products;
  visitBlockProducts(plan, [&](const BlockProduct& product) { products.push_back(product); });
  const auto* W = static_cast<const float*>(folded.data);
  std::vector<int32_t> bad(static_cast<size_t>(d), 0);
  withFloatType(weight.dtype, "mergeBlocks", [&](auto zero) {
    using Value = decltype(zero);
    parallelRanges(d, k, [&](int64_t begin, int64_t end) {
      std::vector<float> delta(static_cast<size_t>(k));
      for (int64_t j = begin; j < end; ++j) {
        std::fill(delta.begin(), delta.end(), 0.0f);
        for (const BlockProduct& product : products) {
          const int64_t distance = j % distinct - product.output, i = distance < 0 ? -1 : distance / R;
          if (i < 0 || i >= product.count || distance % R >= product.rows) continue;
          const float* row = W + ((product.block + i) * R + product.row + distance % R) * R + product.column;
          float* to = &delta[static_cast<size_t>(product.input + i * R)];
          for (int64_t c = 0; c < product.depth; ++c) to[c] += row[c];
        }
        Value* w = rowOf<Value>(weight, j);
        for (int64_t c = 0; c < k; ++c) {
          const float merged = hwy::ConvertScalarTo<float>(w[c]) + scale * delta[static_cast<size_t>(c)];
          w[c] = hwy::ConvertScalarTo<Value>(merged);
          bad[static_cast<size_t>(j)] += std::isfinite(hwy::ConvertScalarTo<float>(w[c])) ? 0 : 1;
        }
      }
    });
  });
  for (const int32_t count : bad) *static_cast<int32_t*>(nonFinite.data) += count;
}

}  // namespace mora::cpu
