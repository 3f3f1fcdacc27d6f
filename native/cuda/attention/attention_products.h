// The two products of attention on one warp's rows, with results and scores in registers.
//
// Lane 4 g + t (g < 8, t < 4) holds, as in multiplyTile's fragments:
//   scores [16, 8] s[4]: s[0], s[1] row g, columns 2 t, 2 t + 1; s[2], s[3] row g + 8, the same columns.
//   results [16, 16] as two of those, o[2][4], for interleaved columns: o[p][i] is column 4 t + 2 (i % 2) + p, row g
//   (i < 2) or g + 8. So a lane has 4 neighbouring columns, and reads the right operand in pairs of neighbours.
// Scores of 16 columns, rounded to 16 bits, are in place for the left operand of the next product. f32 has the same
// layout without tensor cores: every lane computes its own elements by multiply-adds.
// The array types have no aliases, since nvcc 12.4 fails with an internal error if an alias depends on a kernel's
// constants.
#pragma once
#include <cstring>
#include <type_traits>

#include "cuda/attention/attention_tiles.h"
#include "cuda/device_code.h"

namespace mora::cuda {

__device__ __forceinline__ int laneRow() { return static_cast<int>(threadIdx.x % kWarp) / 4; }   // g
__device__ __forceinline__ int lanePair() { return static_cast<int>(threadIdx.x % kWarp) % 4; }  // t

/// Two neighbouring elements, the first in the low half.
template <typename T>
__device__ __forceinline__ uint32_t pairAt(const T* elements) {
  return *reinterpret_cast<const uint32_t*>(elements);
}

/// Both rounded to T, `low` in the low half.
template <typename T>
__device__ __forceinline__ uint32_t roundPair(float low, float high) {
  uint32_t bits;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    memcpy(&bits, &pair, sizeof(bits));
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    memcpy(&bits, &pair, sizeof(bits));
  }
  return bits;
}

template <int kRowTiles, int kPieces>
__device__ __forceinline__ void clear(float (&results)[kRowTiles][kPieces][2][4]) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
#pragma unroll
      for (int i = 0; i < 8; ++i) results[r][c][i / 4][i % 4] = 0;
    }
  }
}

/// scores [16 kRowTiles, 8 kColumnTiles] = a b^T over kColumns elements; `a` points to the warp's first row of a tile,
/// `b` to a block.
template <int kColumns, typename T, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiplyRows(const T* a, const T* b, float (&scores)[kRowTiles][kColumnTiles][4]) {
  constexpr int kStride = kTileStride<T, kColumns>;
  const int g = laneRow(), t = lanePair();
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[r][n][i] = 0;
    }
  }
  if constexpr (sizeof(T) == 2) {
    a += g * kStride + 2 * t;
    b += g * kStride + 2 * t;
#pragma unroll 2
    for (int k = 0; k < kColumns; k += 16) {
      uint32_t left[kRowTiles][4];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const T* const from = a + r * kMmaRows * kStride + k;
        left[r][0] = pairAt(from);
        left[r][1] = pairAt(from + 8 * kStride);
        left[r][2] = pairAt(from + 8);
        left[r][3] = pairAt(from + 8 * kStride + 8);
      }
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const T* const from = b + n * 8 * kStride + k;
        const uint32_t right[2] = {pairAt(from), pairAt(from + 8)};
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) multiplyTile(scores[r][n], left[r], right, T());
      }
    }
  } else {
    const auto multiply = [](float4 x, float4 y, float& sum) {
      sum = fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, sum))));
    };
    const auto four = [](const float* from) { return *reinterpret_cast<const float4*>(from); };
#pragma unroll 1
    for (int k = 0; k < kColumns; k += 4) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const float* const from = a + (r * kMmaRows + g) * kStride + k;
        const float4 upper = four(from), lower = four(from + 8 * kStride);
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          const float* const other = b + (n * 8 + 2 * t) * kStride + k;
          const float4 first = four(other), second = four(other + kStride);
          multiply(upper, first, scores[r][n][0]);
          multiply(upper, second, scores[r][n][1]);
          multiply(lower, first, scores[r][n][2]);
          multiply(lower, second, scores[r][n][3]);
        }
      }
    }
  }
}

/// results [16 kRowTiles, 16 kPieces] += weights [16 kRowTiles, 8 kColumnTiles] b; `b` points to the first of these
/// columns of a block of 8 kColumnTiles rows.
template <int kColumns, typename T, int kRowTiles, int kColumnTiles, int kPieces>
__device__ __forceinline__ void addProduct(const float (&weights)[kRowTiles][kColumnTiles][4], const T* b,
                                           float (&results)[kRowTiles][kPieces][2][4]) {
  static_assert(kPieces <= kColumns / 16);
  constexpr int kStride = kTileStride<T, kColumns>;
  const int g = laneRow(), t = lanePair();
  if constexpr (sizeof(T) == 2) {
    b += 2 * t * kStride + 2 * g;
#pragma unroll
    for (int k = 0; k < kColumnTiles; k += 2) {
      uint32_t left[kRowTiles][4];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const auto& from = weights[r][k + i / 2];
          left[r][i] = roundPair<T>(from[i % 2 * 2], from[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int c = 0; c < kPieces; ++c) {
        // Each lane reads columns 2 g and 2 g + 1 of these 16, in rows 2 t, 2 t + 1, 2 t + 8 and 2 t + 9.
        const T* const from = b + k * 8 * kStride + c * 16;
        const uint32_t w0 = pairAt(from), w1 = pairAt(from + kStride);
        const uint32_t w8 = pairAt(from + 8 * kStride), w9 = pairAt(from + 9 * kStride);
        const uint32_t even[2] = {__byte_perm(w0, w1, 0x5410), __byte_perm(w8, w9, 0x5410)};
        const uint32_t odd[2] = {__byte_perm(w0, w1, 0x7632), __byte_perm(w8, w9, 0x7632)};
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          multiplyTile(results[r][c][0], left[r], even, T());
          multiplyTile(results[r][c][1], left[r], odd, T());
        }
      }
    }
  } else {
    // One loop is not unrolled: loading all these rows at once would need too many registers.
#pragma unroll 1
    for (int k = 0; k < 8; ++k) {
      const int owner = 4 * g + k / 2;  // the lane that holds column k of this lane's rows in each tile of 8
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const T* const from = b + (n * 8 + k) * kStride + 4 * t;
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          const auto& own = weights[r][n];
          const float upper = __shfl_sync(kWholeWarp, k % 2 ? own[1] : own[0], owner);
          const float lower = __shfl_sync(kWholeWarp, k % 2 ? own[3] : own[2], owner);
#pragma unroll
          for (int c = 0; c < kPieces; ++c) {
            const float4 right = *reinterpret_cast<const float4*>(from + c * 16);
            auto& [even, odd] = results[r][c];
            even[0] = fmaf(upper, right.x, even[0]);
            odd[0] = fmaf(upper, right.y, odd[0]);
            even[1] = fmaf(upper, right.z, even[1]);
            odd[1] = fmaf(upper, right.w, odd[1]);
            even[2] = fmaf(lower, right.x, even[2]);
            odd[2] = fmaf(lower, right.y, odd[2]);
            even[3] = fmaf(lower, right.z, even[3]);
            odd[3] = fmaf(lower, right.w, odd[3]);
          }
        }
      }
    }
  }
}

/// Calls body(r, half, row) for the rows of a lane's results: `half` 0 is row g, 1 is row g + 8 of row tile r.
template <int kRowTiles, typename Body>
__device__ __forceinline__ void forLaneRows(Body&& body) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) body(r, half, r * kMmaRows + half * 8 + laneRow());
  }
}

/// Multiplies the first `rows` of the warp's rows by `factors`, rounds them and stores them to rows of `to` from
/// `first`. `wide`: rows start at 16-byte boundaries and are whole vectors.
template <int kRowTiles, int kPieces, typename T>
__device__ __forceinline__ void storeResults(const float (&results)[kRowTiles][kPieces][2][4],
                                             const float (&factors)[kRowTiles][2], const Heads<T>& to, int64_t first,
                                             int32_t head, int32_t rows, int32_t columns, bool wide) {
  forLaneRows<kRowTiles>([&](int r, int half, int row) {
    if (row >= rows) return;
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
      const int column = c * 16 + 4 * lanePair();
      float values[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) values[i] = results[r][c][i % 2][2 * half + i / 2] * factors[r][half];
      T* const target = to.at(first + row, head) + column;
      if (wide) {
        if (column < columns) store(values, target);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (column + i < columns) target[i] = fromFloat<T>(values[i]);
        }
      }
    }
  });
}

}  // namespace mora::cuda
