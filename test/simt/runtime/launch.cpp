// Kernel launches: refuses what a GPU of compute capability 9.0 would refuse, and enqueues the rest.
#include <cstdio>
#include <map>
#include <mutex>

#include "simt/device_code.h"
#include "simt/kernels/grid.h"
#include "simt/runtime/errors.h"
#include "simt/runtime/injected_faults.h"
#include "simt/runtime/report.h"
#include "simt/runtime/settings.h"
#include "simt/runtime/streams.h"
#include "simt/runtime/trace.h"

namespace simt {

namespace {

constexpr unsigned kMostBlocks = 65535;  // in y and z
constexpr unsigned kMostThreads = 64;    // in z

std::mutex mutex;
std::map<const void*, size_t> optedIn;

size_t sharedLimit(const void* kernel) {
  const std::lock_guard lock(mutex);
  const auto found = optedIn.find(kernel);
  return found == optedIn.end() ? kSharedBytes : std::max(kSharedBytes, found->second);
}

cudaError_t refusal(const Grid& grid) {
  const dim3 b = grid.blocks, t = grid.threads;
  const uint64_t threads = uint64_t{t.x} * t.y * t.z;
  if (threads == 0 || threads > kThreadsPerBlock || t.z > kMostThreads) return cudaErrorInvalidConfiguration;
  if (b.x == 0 || b.y == 0 || b.z == 0) return cudaErrorInvalidConfiguration;
  if (b.x > 0x7fffffffu || b.y > kMostBlocks || b.z > kMostBlocks) return cudaErrorInvalidConfiguration;
  if (grid.dynamicBytes > sharedLimit(grid.kernel)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

}  // namespace

void launch(const void* kernel, dim3 blocks, dim3 threads, size_t sharedBytes, cudaStream_t stream,
            std::function<void()> thread) {
  if (const cudaError_t fault = deviceFault()) {
    failed(fault);
    return;
  }
  const auto grid = std::make_shared<Grid>(Grid{kernel, blocks, threads, sharedBytes, std::move(thread), 0});
  const cudaError_t error =
      resolve(stream)->device != currentDevice() ? cudaErrorInvalidResourceHandle : refusal(*grid);
  if (error != cudaSuccess) {
    std::fprintf(stderr,
                 "simt: %s: a launch of (%u, %u, %u) blocks of (%u, %u, %u) threads with %zu bytes of dynamic "
                 "shared memory is refused: %s\n",
                 nameOf(kernel).c_str(), blocks.x, blocks.y, blocks.z, threads.x, threads.y, threads.z, sharedBytes,
                 cudaGetErrorString(error));
    failed(error);
    return;
  }
  if (tracing()) {
    TraceEntry entry{"kernel", nameOf(kernel)};
    entry.grid = blocks;
    entry.block = threads;
    entry.sharedBytes = sharedBytes;
    trace(entry);
  }
  if (!settings().compute) return;
  enqueue(stream, {[grid] {
                     grid->seed = workerRandom();
                     runGrid(*grid);
                   },
                   nullptr});
}

}  // namespace simt

/// Dynamic shared memory beyond 48 KiB must be requested, up to the device's maximum.
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > simt::sharedBytesOptIn()) return simt::failed(cudaErrorInvalidValue);
  const std::lock_guard lock(simt::mutex);
  simt::optedIn[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  SIMT_ANSWER_FAULT();
  if (!simt::settings().code) return simt::failed(cudaErrorNoKernelImageForDevice);
  const int version = simt::settings().capability;
  *attributes = {0, static_cast<int>(simt::kThreadsPerBlock), 32, version, version};
  return cudaSuccess;
}
