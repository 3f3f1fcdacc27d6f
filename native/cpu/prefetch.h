// Prefetching memory.
#pragma once
#include <hwy/cache_control.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cpu/processor.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {

constexpr int64_t kLine = 64;  // of a cache, in bytes

/// Prefetches memory at a useful distance after `now`. Intel's hardware alone prefetches too little of a weight that is
/// read once, which costs up to half of the time; AMD's prefetches enough, and extra requests cost up to a third.
inline void prefetchLater(const void* now, int64_t bytes) {
  constexpr int64_t kAhead = 2048;
  if (!isIntel()) return;
  for (int64_t i = 0; i < bytes; i += kLine) hwy::Prefetch(static_cast<const std::byte*>(now) + kAhead + i);
}

/// A row of a [rows, columns] view whose rows a kernel reads or writes one after the other. Hardware does not follow
/// the several operands of such a kernel; where it does not, each access prefetches the same column of the next row.
template <typename T>
class Row {
 public:
  Row(const TensorDesc& tensor, int64_t row)
      : start_(rowOf<T>(tensor, row)), ahead_(isIntel() ? tensor.strides[0] : 0) {}

  /// Returns where column i is, for reading, or for writing if T is not const.
  T* at(int64_t i) const {
    if (ahead_ != 0) __builtin_prefetch(start_ + i + ahead_, !std::is_const_v<T>);
    return start_ + i;
  }

 private:
  T* start_;
  int64_t ahead_;
};

}  // namespace mora::cpu
