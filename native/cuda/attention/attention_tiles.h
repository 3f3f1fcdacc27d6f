// Tiles of attention in shared memory, and their sizes.
//
// A block of threads owns a tile of rows: each warp has 16 * kRowTiles of them and keeps their results in registers.
// They are multiplied with blocks of kBlock rows of two other tensors (keys and values, or queries and gradients),
// double buffered: while one pair of blocks is used, the next is copied.
#pragma once
#include <cstdint>

#include "cuda/attention/attention_documents.h"
#include "cuda/device_code.h"
#include "cuda/vector.h"

namespace mora::cuda {

constexpr int kMmaRows = 16;  // of a product of multiplyTile

/// Elements from row to row in shared memory: the columns, a multiple of 32 bytes, plus 16 bytes. So rows are an odd
/// multiple of 16 bytes apart, and 8 of them start in different banks.
template <typename T, int kColumns>
constexpr int kTileStride = kColumns + kVectorWidth<T>;

/// Resident blocks that a multiprocessor must have registers for: 2 of 128 threads, 255 registers each.
constexpr int kLeastBlocks = 2;

/// Warps, row tiles of a warp, and rows of a block.
struct Choice {
  int warps, rowTiles, block;
};

/// The most columns of results that fit into registers.
constexpr int kMostResultColumns = 256;

/// Sizes of a kernel for head sizes up to `columns`; `tiles` is the number of tensors with tiles of kRows rows. Where
/// results have too many columns for registers, kParts blocks of threads share a tile: each computes all scores.
template <typename T, int columns, Choice choice, int tiles>
struct TileSizes {
  static constexpr int kColumns = columns;
  static constexpr int kResultColumns = columns < kMostResultColumns ? columns : kMostResultColumns;
  static constexpr int kParts = kColumns / kResultColumns, kPieces = kResultColumns / 16;
  static constexpr int kWarps = choice.warps, kThreads = kWarps * static_cast<int>(kWarp);
  static constexpr int kRowTiles = choice.rowTiles, kWarpRows = kMmaRows * kRowTiles, kRows = kWarpRows * kWarps;
  static constexpr int kBlock = choice.block, kColumnTiles = kBlock / 8;  // of 8 columns, in a product with a block
  static constexpr int kStride = kTileStride<T, kColumns>;
  static constexpr int kTileElements = kRows * kStride, kBlockElements = kBlock * kStride;
  /// After the tiles come two floats per row of a block (lse and delta in the backward pass).
  static constexpr size_t kTileBytes = sizeof(T) * (tiles * kTileElements + 2 * 2 * kBlockElements);
  static constexpr size_t kSharedBytes = kTileBytes + sizeof(float) * 2 * 2 * kBlock;
  static_assert(kSharedBytes <= 99 * 1024 || (kParts > 1 && sizeof(T) == 4),
                "more shared memory than compute capability 8.6 has");

  /// The first column of the results of this block of threads.
  __device__ __forceinline__ static int32_t firstResult() {
    return kParts == 1 ? 0 : static_cast<int32_t>(blockIdx.z) * kResultColumns;
  }
};

// Chosen so that no kernel spills (255 registers) or needs too much shared memory. Results of a warp occupy kRowTiles *
// kColumns / 2 registers of a thread in the forward pass and for dQ, twice that for dK and dV together; scores of a
// block occupy kRowTiles * kBlock / 2.

constexpr Choice forwardChoice(bool f32, int columns) {
  if (columns > 256) return f32 ? Choice{1, 1, 8} : Choice{2, 1, 16};
  if (f32) return columns > 128 ? Choice{2, 1, 8} : Choice{4, 1, 16};
  if (columns <= 80) return {4, 2, 64};
  return columns <= 128 ? Choice{4, 2, 32} : Choice{4, 1, 16};
}

constexpr Choice queryGradientChoice(bool f32, int columns) {
  if (columns > 256) return {1, 1, f32 ? 8 : 16};
  if (f32) return {columns > 96 ? 2 : 4, 1, columns > 128 ? 8 : 16};
  if (columns <= 96) return {4, 2, 32};
  return columns <= 128 ? Choice{4, 1, 32} : Choice{2, 1, 16};
}

constexpr Choice keyGradientChoice(bool f32, int columns) {
  if (f32 || columns > 256) return queryGradientChoice(f32, columns);
  if (columns <= 64) return {4, 2, 32};
  return columns <= 128 ? Choice{4, 1, 32} : Choice{2, 1, 16};
}

template <typename T, int kColumns>
using ForwardSizes = TileSizes<T, kColumns, forwardChoice(sizeof(T) == 4, kColumns), 1>;
template <typename T, int kColumns>
using QueryGradientSizes = TileSizes<T, kColumns, queryGradientChoice(sizeof(T) == 4, kColumns), 2>;
template <typename T, int kColumns>
using KeyGradientSizes = TileSizes<T, kColumns, keyGradientChoice(sizeof(T) == 4, kColumns), 2>;

/// Starts copying the rows source(0), source(1), .. to a tile [kRows, kColumns] and fills the rest with zeros;
/// complete after waitForCopies and a barrier. `wide`: rows start at 16-byte boundaries and are whole vectors.
template <typename Sizes, int kRows, typename T, typename Source>
__device__ __forceinline__ void loadRowsOf(Source&& source, int32_t rows, int32_t columns, bool wide, T* tile) {
  if (wide) {
    constexpr int kWidth = kVectorWidth<T>, kVectors = Sizes::kColumns / kWidth;
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kVectors; i += Sizes::kThreads) {
      const int row = i / kVectors, column = i % kVectors * kWidth;
      T* const to = tile + row * Sizes::kStride + column;
      if (row < rows && column < columns)
        copyAsync16(to, source(row) + column);
      else
        *reinterpret_cast<uint4*>(to) = uint4{0, 0, 0, 0};
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * Sizes::kColumns; i += Sizes::kThreads) {
      const int row = i / Sizes::kColumns, column = i % Sizes::kColumns;
      tile[row * Sizes::kStride + column] = row < rows && column < columns ? source(row)[column] : fromFloat<T>(0);
    }
  }
}

/// The same for `rows` rows of a head, from row `first`.
template <typename Sizes, int kRows, typename T>
__device__ __forceinline__ void loadTile(const Heads<const T>& from, int64_t first, int32_t head, int32_t rows,
                                         int32_t columns, bool wide, T* tile) {
  const T* const source = from.at(first, head);
  loadRowsOf<Sizes, kRows>([&](int row) { return source + row * from.rowStride; }, rows, columns, wide, tile);
}

/// Starts copying block `step` of the keys and values that a tile of queries sees; steps alternate between the halves
/// of `blocks`.
template <typename Sizes, typename Arguments, typename T>
__device__ __forceinline__ void loadKeyValueBlock(const Arguments& arguments, const QueryTile& tile, int32_t step,
                                                  T* blocks) {
  const int32_t key = step * Sizes::kBlock;
  const auto loadBlock = [&](const Heads<const T>& from, T* to) {
    const int64_t first = tile.document.firstKey + key;
    loadRowsOf<Sizes, Sizes::kBlock>([&](int row) { return from.at(arguments.keyRows.of(first + row), tile.keyHead); },
                                     tile.keys - key, arguments.headSize, arguments.wide, to);
  };
  T* const to = blocks + step % 2 * 2 * Sizes::kBlockElements;
  loadBlock(arguments.k, to);
  loadBlock(arguments.v, to + Sizes::kBlockElements);
}

}  // namespace mora::cuda
