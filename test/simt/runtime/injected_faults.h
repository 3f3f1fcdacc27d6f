// Faults that a test asks for in the environment (settings.h): what a broken device, a full one or a failing cuBLAS
// answers.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace simt {

/// Counts a call that the device answers. From the chosen call on, the chosen error, which every later call gets too.
cudaError_t deviceFault();
/// Counts an allocation of device memory; whether it is to find none.
bool allocationFault();
/// Counts a call of cuBLAS. From the chosen call on, the chosen status; else 0.
int32_t cublasFault();

}  // namespace simt

/// Ends a function of the runtime with the device's fault, if it has one.
#define SIMT_ANSWER_FAULT() \
  if (const cudaError_t simtFault = simt::deviceFault()) return simt::failed(simtFault)
