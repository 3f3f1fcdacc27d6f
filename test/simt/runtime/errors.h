// The runtime's error state of each thread.
#pragma once
#include <cuda_runtime.h>

namespace simt {

/// Keeps the error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error);

}  // namespace simt
