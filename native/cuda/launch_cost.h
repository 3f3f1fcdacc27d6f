// Sums the bytes and FLOPs that launchers state, for benchmarks (bench/gpu-kernels).
#pragma once
#include <cstdint>

namespace mora::cuda {

struct LaunchCost {
  uint64_t bytes = 0, flops = 0;
};

/// The cost of all kernels and products that this thread has launched since the last reset.
inline thread_local LaunchCost launchCost;

}  // namespace mora::cuda
