// The exceptions of the CUDA backend.
#pragma once
#include <cuda_runtime.h>

#include <exception>
#include <new>
#include <string>

#include "core/error.h"

namespace mora::cuda {

/// Whether the device is unusable for this process after this error: every later call returns it too, and nothing
/// resets it.
inline bool endsContext(cudaError_t error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
      return true;
    default:
      return false;
  }
}

/// An error that made the device unusable. The call that first reports it is rarely the one that caused it.
class DeviceLost : public std::exception {
 public:
  explicit DeviceLost(cudaError_t error) : error_(error) {}
  cudaError_t error() const { return error_; }
  const char* what() const noexcept override { return cudaGetErrorString(error_); }

 private:
  cudaError_t error_;
};

/// Throws std::bad_alloc if memory is exhausted, DeviceLost if the device is lost, and Error otherwise; `what` names
/// the call.
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  if (endsContext(error)) throw DeviceLost(error);
  cudaGetLastError();  // the next check must not see it again
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw Error("cuda", std::string(what) + ": " + cudaGetErrorString(error));
}

[[noreturn]] inline void unsupported(const std::string& what) {
  throw Unsupported(what + " is not supported by the CUDA backend.");
}

}  // namespace mora::cuda
