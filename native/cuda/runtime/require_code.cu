// Whether this library has code for a device: kernels are compiled for some compute capabilities, and as PTX, which the
// driver compiles for newer devices. A device without either would fail at its first kernel, so this is checked before.
#include "core/error.h"
#include "cuda/device_code.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/devices.h"

namespace mora::cuda {
namespace {

__global__ void anyKernel() {}

}  // namespace

void requireCode(int device) {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, anyKernel);
  if (error != cudaErrorNoKernelImageForDevice) return check(error, "opening the device");
  cudaGetLastError();
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "opening the device");
  const std::string capability = std::to_string(properties.major) + std::to_string(properties.minor);
  throw Error("cuda", "the CUDA backend was built for the architectures " MORA_CUDA_ARCHITECTURES " and " +
                          std::string(properties.name) + " is " + capability +
                          "; build it with \"CUDAARCHS=" + capability + " npm run build native\" in a new folder");
}

}  // namespace mora::cuda
