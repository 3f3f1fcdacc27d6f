// What the CUDA backend throws.
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

[[noreturn]] inline void unsupported(const std::string& what) {
  throw Error("unsupported", what + " is not supported by the CUDA backend.");
}

}  // namespace mora::cuda
