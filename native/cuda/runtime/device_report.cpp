#include "cuda/runtime/device_report.h"

#include <cstdio>

#include "core/operation_table.h"

namespace mora::cuda {
StreamError errorOf(const DeviceReport& report) {
  StreamError error{};
  const auto operation = static_cast<Operation>(report.operation);
  if (operation == Operation::none) return error;
  const char* const name = nameOf(operation);
  const auto position = static_cast<long long>(report.position), value = static_cast<long long>(report.value),
             limit = static_cast<long long>(report.limit);
  error.status = Status::failed;
  std::snprintf(error.operation, sizeof error.operation, "%s", name);
  if (operation == Operation::crossEntropy)  // negative targets are ignored
    std::snprintf(error.message, sizeof error.message, "%s expected targets below %lld but target %lld is %lld", name,
                  limit, position, value);
  else if (operation == Operation::attention || operation == Operation::causalConvolution ||
           operation == Operation::causalConvolutionBackward || operation == Operation::gatedDeltaRule ||
           operation == Operation::gatedDeltaRuleBackward)
    std::snprintf(error.message, sizeof error.message,
                  "%s expected offsets that rise from 0 to the %lld tokens but offset %lld is %lld", name, limit,
                  position, value);
  else if (operation == Operation::sample)
    std::snprintf(error.message, sizeof error.message, "%s expected draws in [0, 2^53) but draw %lld is %lld", name,
                  position, value);
  else
    std::snprintf(error.message, sizeof error.message, "%s expected indices in [0, %lld) but index %lld is %lld", name,
                  limit, position, value);
  return error;
}

StreamError errorOf(const DeviceLost& lost) {
  StreamError error{};
  error.status = Status::failed;
  std::snprintf(error.operation, sizeof error.operation, "the GPU");
  std::snprintf(
      error.message, sizeof error.message,
      "%s (CUDA error %d) in an earlier operation; this process cannot use the GPU any more; run it again with "
      "CUDA_LAUNCH_BLOCKING=1 to see in which",
      lost.what(), static_cast<int>(lost.error()));
  return error;
}

}  // namespace mora::cuda
