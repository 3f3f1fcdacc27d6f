// What launchers state that their kernels move and compute, for benchmarks (bench/gpu-kernels).
#pragma once
#include <cstdint>

namespace mora::cuda {

struct LaunchCost {
  uint64_t bytes = 0, flops = 0;
};

/// The cost of all kernels and products that this thread has launched since it was last set to zero.
inline thread_local LaunchCost launchCost;

}  // namespace mora::cuda
