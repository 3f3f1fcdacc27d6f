// Sums over rows in an order that depends on nothing but their number: fixed blocks of rows are summed side by side,
// then the blocks' sums one after the other.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/parallel.h"

namespace mora::cpu {

struct RowBlocks {
  int64_t rows, perBlock, count;

  explicit RowBlocks(int64_t rows)
      : rows(rows), perBlock(std::max<int64_t>(32, (rows + 127) / 128)), count((rows + perBlock - 1) / perBlock) {}

  int64_t begin(int64_t block) const { return block * perBlock; }
  int64_t end(int64_t block) const { return std::min(rows, (block + 1) * perBlock); }
};

/// target[c] = (accumulate ? target[c] : 0) + the sum of partials[block][c] over blocks, in order.
inline void combineBlocks(const float* partials, int64_t blocks, int64_t columns, float* target, bool accumulate) {
  const auto addColumns = [=](int64_t begin, int64_t end) {
    if (!accumulate) std::fill(target + begin, target + end, 0.0f);
    for (int64_t block = 0; block < blocks; ++block) {
      const float* const partial = partials + block * columns;
      for (int64_t c = begin; c < end; ++c) target[c] += partial[c];
    }
  };
  parallelRanges(columns, blocks, addColumns, 16);
}

}  // namespace mora::cpu
