// The online softmax on scores in registers (layout: attention_products.h). Scores are q.k before scaling, or capped;
// the scoring's `slope` turns them into exponents of 2.
#pragma once
#include "cuda/attention/attention_kernels.h"
#include "cuda/attention/attention_products.h"

namespace mora::cuda {

/// Sum over the 4 lanes that share a row.
__device__ __forceinline__ float rowSum(float value) {
  value += __shfl_xor_sync(kWholeWarp, value, 1);
  return value + __shfl_xor_sync(kWholeWarp, value, 2);
}

__device__ __forceinline__ float rowMax(float value) {
  value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 1));
  return fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 2));
}

/// log of the sum of exp(scale * score), from the largest score and the sum relative to it.
__device__ __forceinline__ float logSum(float maximum, float total, float scale) {
  return total == 0 ? kNothing : maximum * scale + logf(total);
}

/// Calls body(r, n, i) for each of a lane's scores[r][n][i].
template <int kRowTiles, int kColumnTiles, typename Body>
__device__ __forceinline__ void forScores(const float (&)[kRowTiles][kColumnTiles][4], Body&& body) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) body(r, n, i);
    }
  }
}

/// The column of scores[r][n][i] in the block.
__device__ __forceinline__ int32_t columnOf(int n, int i) { return n * 8 + 2 * lanePair() + i % 2; }

/// The keys of a document that the rows of a warp see.
template <int kRowTiles>
struct VisibleKeys {
  int32_t ofRow[kRowTiles][2];
  int32_t least, most;  // over the rows that exist in the document; most is 0 if none do

  /// The warp has queries [first, first + rows) of the document; rows may be fewer than its row tiles hold.
  __device__ __forceinline__ VisibleKeys(const Document& document, int32_t first, int32_t rows)
      : least(document.visibleKeys(first)),
        most(rows > 0 ? document.visibleKeys(first + min(rows, kRowTiles * kMmaRows) - 1) : 0) {
    forLaneRows<kRowTiles>([&](int r, int half, int row) { ofRow[r][half] = document.visibleKeys(first + row); });
  }

  /// Whether key `key` is inside the window of the row of scores[r][n][i].
  __device__ __forceinline__ bool sees(int r, int i, int32_t key, int32_t window) const {
    return key < ofRow[r][i / 2] && key >= ofRow[r][i / 2] - window;
  }

  /// Whether no row sees any of the `count` keys from `firstKey`.
  __device__ __forceinline__ bool noneSees(int32_t firstKey, int32_t count, int32_t window) const {
    return firstKey >= most || firstKey + count <= least - window;
  }

  /// Turns products into capped scores, and into -infinity for keys that a row does not see.
  template <int kColumnTiles>
  __device__ __forceinline__ void scoreOthers(float (&scores)[kRowTiles][kColumnTiles][4], int32_t firstKey,
                                              const Scoring& scoring) const {
    if (scoring.softcap > 0)
      forScores(scores, [&](int r, int n, int i) { scores[r][n][i] = scoring.capped(scores[r][n][i]); });
    if (firstKey + 8 * kColumnTiles <= least && firstKey >= most - scoring.window) return;
    forScores(scores, [&](int r, int n, int i) {
      if (!sees(r, i, firstKey + columnOf(n, i), scoring.window)) scores[r][n][i] = kNothing;
    });
  }

  /// Sets scores of keys that a row does not see to -infinity; the block's first key is `firstKey`.
  template <int kColumnTiles>
  __device__ __forceinline__ void hideOthers(float (&scores)[kRowTiles][kColumnTiles][4], int32_t firstKey) const {
    if (firstKey + 8 * kColumnTiles <= least) return;
    forScores(scores, [&](int r, int n, int i) {
      if (firstKey + columnOf(n, i) >= ofRow[r][i / 2]) scores[r][n][i] = kNothing;
    });
  }
};

/// results *= factors of the rows
template <int kRowTiles, int kPieces>
__device__ __forceinline__ void scale(float (&results)[kRowTiles][kPieces][2][4],
                                      const float (&factors)[kRowTiles][2]) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
#pragma unroll
      for (int i = 0; i < 8; ++i) results[r][c][i / 4][i % 4] *= factors[r][i % 4 / 2];
    }
  }
}

/// The state of a warp's rows in the online softmax, carried from block to block.
template <int kRowTiles>
struct SoftmaxRows {
  float maximum[kRowTiles][2];  // of the scores so far
  float total[kRowTiles][2];    // sum of 2^(slope (score - maximum)) over this lane's scores, until sumLanes

  __device__ __forceinline__ SoftmaxRows() {
    forLaneRows<kRowTiles>([&](int r, int half, int) { maximum[r][half] = kNothing, total[r][half] = 0; });
  }

  /// Turns scores into weights relative to the new maximum; `shrink` is the factor for older results.
  template <int kColumnTiles>
  __device__ __forceinline__ void add(float (&scores)[kRowTiles][kColumnTiles][4], float slope,
                                      float (&shrink)[kRowTiles][2]) {
    float largest[kRowTiles][2], offset[kRowTiles][2];
    forLaneRows<kRowTiles>([&](int r, int half, int) { largest[r][half] = maximum[r][half]; });
    forScores(scores, [&](int r, int n, int i) { largest[r][i / 2] = fmaxf(largest[r][i / 2], scores[r][n][i]); });
    forLaneRows<kRowTiles>([&](int r, int half, int) {
      const float now = rowMax(largest[r][half]);
      // A row that has seen no key yet has no maximum: with any finite one, its weights are 0.
      const float base = now == kNothing ? 0.0f : now;
      shrink[r][half] = exp2f((maximum[r][half] - base) * slope);
      total[r][half] *= shrink[r][half];
      offset[r][half] = -base * slope;
      maximum[r][half] = now;
    });
    forScores(scores, [&](int r, int n, int i) {
      scores[r][n][i] = exp2f(fmaf(scores[r][n][i], slope, offset[r][i / 2]));
      total[r][i / 2] += scores[r][n][i];
    });
  }

  __device__ __forceinline__ void sumLanes() {
    forLaneRows<kRowTiles>([&](int r, int half, int) { total[r][half] = rowSum(total[r][half]); });
  }
};

}  // namespace mora::cuda
