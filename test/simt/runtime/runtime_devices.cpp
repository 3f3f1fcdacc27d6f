// The runtime's functions about devices: simulated GPUs.
#include <cstdio>
#include <cstring>

#include "simt/kernels/block.h"
#include "simt/runtime/device_memory.h"
#include "simt/runtime/errors.h"
#include "simt/runtime/injected_faults.h"
#include "simt/runtime/settings.h"
#include "simt/runtime/streams.h"

using simt::failed;
using simt::settings;

namespace {

// An H100's limits.
constexpr int kClockKilohertz = 1'980'000, kMemoryClockKilohertz = 2'619'000, kMemoryBits = 5120;

bool exists(int device) { return device >= 0 && device < settings().devices; }

}  // namespace

cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings().driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (settings().driver < CUDART_VERSION) return failed(cudaErrorInsufficientDriver);
  *count = settings().devices;
  return *count > 0 ? cudaSuccess : failed(cudaErrorNoDevice);
}

/// Exported for libraries with a runtime of their own, such as stubs/nccl.cpp.
__attribute__((visibility("default"))) cudaError_t cudaGetDevice(int* device) {
  *device = simt::currentDevice();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (!exists(device)) return failed(cudaErrorInvalidDevice);
  simt::setCurrentDevice(device);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!exists(device)) return failed(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "Emulated GPU %d", device);
  std::memset(properties->uuid.bytes, device + 1, sizeof properties->uuid.bytes);
  properties->totalGlobalMem = settings().memory;
  properties->sharedMemPerBlock = simt::kSharedBytes;
  properties->sharedMemPerBlockOptin = simt::sharedBytesOptIn();
  properties->sharedMemPerMultiprocessor = simt::sharedBytesOptIn() + 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = simt::kWarp;
  properties->maxThreadsPerBlock = simt::kThreadsPerBlock;
  const int threads[] = {1024, 1024, 64}, blocks[] = {0x7fffffff, 65535, 65535};
  std::copy(threads, threads + 3, properties->maxThreadsDim);
  std::copy(blocks, blocks + 3, properties->maxGridSize);
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->major = settings().capability / 10;
  properties->minor = settings().capability % 10;
  properties->multiProcessorCount = settings().multiprocessors;
  properties->l2CacheSize = 50 << 20;
  properties->integrated = settings().integrated;
  properties->pciBusID = device + 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrClockRate:
      *value = kClockKilohertz;
      return cudaSuccess;
    case cudaDevAttrMemoryClockRate:
      *value = kMemoryClockKilohertz;
      return cudaSuccess;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = kMemoryBits;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrIntegrated:
      *value = properties.integrated;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return failed(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceSynchronize() {
  SIMT_ANSWER_FAULT();
  simt::waitForDevice(simt::currentDevice());
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  SIMT_ANSWER_FAULT();
  *total = settings().memory;
  *free = *total - simt::DeviceMemory::instance().used(simt::currentDevice());
  return cudaSuccess;
}
