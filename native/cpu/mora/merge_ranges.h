// Merging by a team: what every kind of ΔW shares.
#pragma once
#include <atomic>
#include <cstdint>

#include "cpu/parallel.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {

/// Calls merge(begin, end) for ranges that cover a weight's rows, and adds the results that it says are not finite to
/// nonFinite [1], where that is wanted.
template <typename Merge>
void mergeRanges(int64_t rows, int64_t elementsPerRow, const TensorDesc& nonFinite, Merge&& merge) {
  std::atomic<int64_t> found{0};
  parallelRanges(rows, elementsPerRow, [&](int64_t begin, int64_t end) { found += merge(begin, end); });
  if (present(nonFinite)) addCount(nonFinite, found);
}

}  // namespace mora::cpu
