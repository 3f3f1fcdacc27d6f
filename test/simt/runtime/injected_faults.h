// Faults that a test requests in the environment (settings.h): results of a broken device, a full one or a failing
// cuBLAS.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace simt {

/// Counts a call of the device. Returns the chosen error from the chosen call on.
cudaError_t deviceFault();
/// Counts an allocation of device memory; returns whether it must fail.
bool allocationFault();
/// Counts a call of cuBLAS. Returns the chosen status from the chosen call on; before that 0.
int32_t cublasFault();

}  // namespace simt

/// Returns the device's fault from a function of the runtime, if there is one.
#define SIMT_ANSWER_FAULT() \
  if (const cudaError_t simtFault = simt::deviceFault()) return simt::failed(simtFault)
