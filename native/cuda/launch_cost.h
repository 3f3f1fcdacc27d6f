// What launchers say that their kernels move and compute: for whoever times them (bench/gpu-kernels).
#pragma once
#include <cstdint>

namespace mora::cuda {

struct LaunchCost {
  uint64_t bytes = 0, flops = 0;
};

/// Of all kernels and products that this thread has launched since somebody set it to zero.
inline thread_local LaunchCost launchCost;

}  // namespace mora::cuda
