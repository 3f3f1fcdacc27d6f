// Sums over rows in an order that depends only on their number: fixed chunks of rows are summed in parallel, then the
// chunks' sums in order.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/parallel.h"

namespace mora::cpu {

struct RowChunks {
  int64_t rows, perChunk, count;

  explicit RowChunks(int64_t rows)
      : rows(rows), perChunk(std::max<int64_t>(32, (rows + 127) / 128)), count((rows + perChunk - 1) / perChunk) {}

  int64_t begin(int64_t chunk) const { return chunk * perChunk; }
  int64_t end(int64_t chunk) const { return std::min(rows, (chunk + 1) * perChunk); }
};

/// target[c] = (accumulate ? target[c] : 0) + the sum of partials[chunk][c] over chunks, in order.
inline void combinePartials(const float* partials, int64_t chunks, int64_t columns, float* target, bool accumulate) {
  const auto addColumns = [=](int64_t begin, int64_t end) {
    if (!accumulate) std::fill(target + begin, target + end, 0.0f);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const float* const partial = partials + chunk * columns;
      for (int64_t c = begin; c < end; ++c) target[c] += partial[c];
    }
  };
  parallelRanges(columns, chunks, addColumns, 16);
}

}  // namespace mora::cpu
