// Work sharing inside one operation: one static split over the OpenMP team, so that results never depend on scheduling.
#pragma once
#include <omp.h>

#include <cstdint>
#include <exception>

namespace mora::cpu {

/// Work below this many elements is cheaper on one thread than waking the team.
constexpr int64_t kSmallWork = 32768;

/// Calls body(begin, end) for ranges that cover [0, count), one range a thread, in order; boundaries are multiples of
/// `multiple`. An item touches `elementsPerItem` elements. The first exception of a range is thrown again here.
template <typename Body>
void parallelRanges(int64_t count, int64_t elementsPerItem, Body&& body, int64_t multiple = 1) {
  if (count <= 0) return;
  const int64_t units = (count + multiple - 1) / multiple;
  if (units == 1 || omp_get_max_threads() == 1 || count * elementsPerItem < kSmallWork) {
    body(int64_t{0}, count);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel
  {
    const int64_t team = omp_get_num_threads(), member = omp_get_thread_num();
    const int64_t begin = units * member / team * multiple;
    const int64_t end = member + 1 == team ? count : units * (member + 1) / team * multiple;
    try {
      if (begin < end) body(begin, end);
    } catch (...) {
#pragma omp critical(mora_cpu_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace mora::cpu
