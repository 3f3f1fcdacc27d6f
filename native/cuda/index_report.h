// Kernels report out-of-range indices to the host, and skip their reads and writes.
#pragma once
#include "cuda/device_code.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

/// Reports an invalid value to the host, unless there is an earlier report.
__device__ __forceinline__ void reportIndex(DeviceReport* report, Operation operation, int64_t position, int64_t value,
                                            int64_t limit) {
  if (atomicCAS(&report->operation, 0, static_cast<int32_t>(operation)) != 0) return;
  report->position = static_cast<int32_t>(position);
  report->value = value;
  report->limit = limit;
}

/// Returns whether value is in [0, limit), and reports it if not.
__device__ __forceinline__ bool indexFits(DeviceReport* report, Operation operation, int64_t position, int64_t value,
                                          int64_t limit) {
  if (value >= 0 && value < limit) return true;
  reportIndex(report, operation, position, value, limit);
  return false;
}

}  // namespace mora::cuda
