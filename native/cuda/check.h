// Turns an error code of CUDA's runtime into an exception.
#pragma once
#include <cuda_runtime.h>

#include <new>
#include <string>

#include "core/error.h"

namespace mora::cuda {

/// Throws std::bad_alloc where memory is missing and Error elsewhere; `what` names the call.
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // the next check must not see it again
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw Error("cuda", std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace mora::cuda
