// The GPUs that this backend can use, and what is missing if there is none. Devices are numbered in CUDA's order among
// those of compute capability 8.0 and above.
#pragma once
#include "core/backend.h"
#include "core/error.h"
#include "cuda/products/cublas.h"

namespace mora::cuda {

/// Empty if at least one GPU can be used.
const Absence& whatIsMissing();
/// The functions of cuBLAS, if nothing is missing.
const CublasTable& cublas();
/// A handle for the current device, and the library that made it: the next one if the first fails. Throws Error with
/// each one's answer.
struct CublasSession {
  const CublasTable& table;
  CublasHandle handle;
};
CublasSession startCublas();
int32_t deviceCount();
/// CUDA's number of a device.
int runtimeIndex(int32_t device);
Status identify(int32_t device, char* id, size_t capacity);
Status deviceFacts(int32_t device, DeviceFacts* facts);
/// Throws Error if this library has no code for the current device, `device`.
void requireCode(int device);

}  // namespace mora::cuda
