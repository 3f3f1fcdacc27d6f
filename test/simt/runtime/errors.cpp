#include "simt/runtime/errors.h"

namespace {

thread_local cudaError_t lastError = cudaSuccess;

struct Text {
  cudaError_t error;
  const char *name, *sentence;
};

#define SIMT_ERROR(name, sentence) \
  { name, #name, sentence }
constexpr Text kTexts[] = {
    SIMT_ERROR(cudaSuccess, "no error"),
    SIMT_ERROR(cudaErrorInvalidValue, "invalid argument"),
    SIMT_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    SIMT_ERROR(cudaErrorInitializationError, "initialization error"),
    SIMT_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    SIMT_ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    SIMT_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    SIMT_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    SIMT_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    SIMT_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    SIMT_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    SIMT_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    SIMT_ERROR(cudaErrorNotReady, "device not ready"),
    SIMT_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    SIMT_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
};
#undef SIMT_ERROR

const Text* textOf(cudaError_t error) {
  for (const Text& text : kTexts)
    if (text.error == error) return &text;
  return nullptr;
}

}  // namespace

namespace simt {

cudaError_t failed(cudaError_t error) { return lastError = error; }

}  // namespace simt

cudaError_t cudaGetLastError() {
  const cudaError_t error = lastError;
  lastError = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return lastError; }

const char* cudaGetErrorString(cudaError_t error) {
  const Text* text = textOf(error);
  return text ? text->sentence : "unrecognized error code";
}

const char* cudaGetErrorName(cudaError_t error) {
  const Text* text = textOf(error);
  return text ? text->name : "unrecognized error code";
}
