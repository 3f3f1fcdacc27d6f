// Shares the items of one operation among the members of the team, in ranges. What is computed for an item does not
// depend on its range, so results never depend on the team or on scheduling.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "cpu/team.h"

namespace mora::cpu {

/// Work below this many elements is cheaper on one thread than waking the team.
constexpr int64_t kSmallWork = 32768;

/// Calls body(begin, end) for ranges that cover [0, count); boundaries are multiples of `multiple`. An item touches
/// `elementsPerItem` elements. With much work, a member gets several ranges of at least `least` elements, so that others
/// can take over some of them. Rethrows the first exception of a range.
template <typename Body>
void parallelRanges(int64_t count, int64_t elementsPerItem, Body&& body, int64_t multiple = 1,
                    int64_t least = kSmallWork) {
  constexpr int64_t kMostRanges = 16;
  if (count <= 0) return;
  const int64_t units = (count + multiple - 1) / multiple, members = teamSize(), work = count * elementsPerItem;
  if (units == 1 || members == 1 || work < kSmallWork) {
    body(int64_t{0}, count);
    return;
  }
  const int64_t ranges = std::min(units, members * std::clamp<int64_t>(work / members / least, 1, kMostRanges));
  shareItems(ranges, [&](int64_t range, int) {
    const int64_t begin = units * range / ranges * multiple;
    body(begin, std::min(count, units * (range + 1) / ranges * multiple));
  });
}

/// `parallelRanges` for items that are read from memory once, such as the weights of a product of few rows: processors
/// fetch a long run ahead, and each new range begins without.
template <typename Body>
void parallelRuns(int64_t count, int64_t elementsPerItem, Body&& body, int64_t multiple = 1) {
  constexpr int64_t kLongRun = 524288;
  parallelRanges(count, elementsPerItem, std::forward<Body>(body), multiple, kLongRun);
}

}  // namespace mora::cpu
