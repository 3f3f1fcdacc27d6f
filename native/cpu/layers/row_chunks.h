// Sums over rows in an order that depends only on their number: fixed chunks of rows are summed in parallel, then the
// chunks' sums in order.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "cpu/parallel.h"
#include "cpu/scratch.h"

namespace mora::cpu {

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

/// target[c] = (accumulate ? target[c] : 0) + sums over rows, for N targets [columns], of which null ones are absent.
/// sum(begin, end, partials) adds rows [begin, end) to N rows of partial sums; it is also called for absent targets.
template <size_t N, typename Sum>
void sumRowChunks(int64_t rows, int64_t columns, const std::array<float*, N>& targets, bool accumulate, Sum&& sum) {
  const int64_t perChunk = std::max<int64_t>(32, (rows + 127) / 128), chunks = (rows + perChunk - 1) / perChunk;
  Scratch scratch;
  std::array<float*, N> partials{};
  for (size_t i = 0; i < N; ++i)
    if (targets[i]) partials[i] = scratch.take<float>(chunks * columns);
  parallelRanges(chunks, perChunk * columns, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      std::array<float*, N> sums{};
      for (size_t i = 0; i < N; ++i)
        if (targets[i]) sums[i] = std::fill_n(partials[i] + chunk * columns, columns, 0.0f) - columns;
      sum(chunk * perChunk, std::min(rows, (chunk + 1) * perChunk), sums);
    }
  });
  for (size_t i = 0; i < N; ++i)
    if (targets[i]) combinePartials(partials[i], chunks, columns, targets[i], accumulate);
}

}  // namespace mora::cpu
