// The GPUs that this backend can use, and what is missing where there is none. Devices are numbered as CUDA numbers
// those of compute capability 8.0 and above.
#pragma once
#include "core/backend.h"
#include "core/error.h"
#include "cuda/products/cublas.h"

namespace mora::cuda {

/// Nothing where at least one GPU can be used.
const Absence& whatIsMissing();
/// cuBLAS, where nothing is missing.
const CublasTable& cublas();
/// A handle for the current device, and the library that made it: the next one found if the first cannot. Throws Error
/// with each one's answer.
struct CublasSession {
  const CublasTable& table;
  CublasHandle handle;
};
CublasSession startCublas();
int32_t deviceCount();
/// CUDA's own number of a device.
int runtimeIndex(int32_t device);
Status identify(int32_t device, char* id, size_t capacity);
Status deviceFacts(int32_t device, DeviceFacts* facts);
/// Throws Error if this library has no code that the device, which must be the current one, can run.
void requireCode(int device);

}  // namespace mora::cuda
