// Merging with a team, for every kind of ΔW.
#pragma once
#include <atomic>
#include <cstdint>

#include "cpu/parallel.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {

/// Calls merge(begin, end) for ranges that cover a weight's rows. merge returns its number of non-finite results; their
/// sum is added to nonFinite [1] if present.
template <typename Merge>
void mergeRanges(int64_t rows, int64_t elementsPerRow, const TensorDesc& nonFinite, Merge&& merge) {
  std::atomic<int64_t> found{0};
  parallelRanges(rows, elementsPerRow, [&](int64_t begin, int64_t end) { found += merge(begin, end); });
  if (present(nonFinite)) addCount(nonFinite, found);
}

}  // namespace mora::cpu
