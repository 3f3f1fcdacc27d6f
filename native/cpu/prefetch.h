// Prefetching memory.
#pragma once
#include <hwy/cache_control.h>

#include <cstddef>
#include <cstdint>

#include "cpu/processor.h"

namespace mora::cpu {

constexpr int64_t kLine = 64;  // of a cache, in bytes

/// Prefetches memory at a useful distance after `now`. Intel's hardware alone prefetches too little of a weight that is
/// read once, which costs up to half of the time; AMD's prefetches enough, and extra requests cost up to a third.
inline void prefetchLater(const void* now, int64_t bytes) {
  constexpr int64_t kAhead = 2048;
  if (!isIntel()) return;
  for (int64_t i = 0; i < bytes; i += kLine) hwy::Prefetch(static_cast<const std::byte*>(now) + kAhead + i);
}

}  // namespace mora::cpu
