// The runtime's functions about memory. As in CUDA, a copy from pageable host memory reads it before it returns, and a
// copy to it returns when the bytes have arrived; page-locked memory is read and written when the stream gets there.
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "simt/runtime/device_memory.h"
#include "simt/runtime/errors.h"
#include "simt/runtime/injected_faults.h"
#include "simt/runtime/settings.h"
#include "simt/runtime/streams.h"
#include "simt/runtime/trace.h"

using simt::DeviceMemory;
using simt::failed;

namespace {

constexpr size_t kHostAlignment = 4096;

/// Page-locked ranges by their first byte.
class LockedMemory {
 public:
  void add(void* address, size_t bytes) {
    const std::lock_guard lock(mutex_);
    ranges_[static_cast<const char*>(address)] = bytes;
  }
  bool remove(void* address) {
    const std::lock_guard lock(mutex_);
    return ranges_.erase(static_cast<const char*>(address)) > 0;
  }
  bool contains(const void* address) const {
    const std::lock_guard lock(mutex_);
    const auto after = ranges_.upper_bound(static_cast<const char*>(address));
    if (after == ranges_.begin()) return false;
    const auto& [first, bytes] = *std::prev(after);
    return static_cast<const char*>(address) < first + bytes;
  }

 private:
  mutable std::mutex mutex_;
  std::map<const char*, size_t> ranges_;
};

LockedMemory& locked() {
  static LockedMemory& memory = *new LockedMemory;
  return memory;
}

/// Rows of a copy; a plain copy has one row.
struct Copy {
  char* target;
  size_t targetPitch;
  const char* source;
  size_t sourcePitch;
  size_t width, height;

  void run() const {
    for (size_t row = 0; row < height; ++row)
      std::memcpy(target + row * targetPitch, source + row * sourcePitch, width);
  }
  size_t targetBytes() const { return (height - 1) * targetPitch + width; }
  size_t sourceBytes() const { return (height - 1) * sourcePitch + width; }
};

/// Whether the address is in device (or host) memory as `isDevice` says, and all of it allocated.
bool plausible(const void* address, size_t bytes, bool isDevice) {
  const DeviceMemory& memory = DeviceMemory::instance();
  return isDevice ? memory.allocated(address, bytes) : address && !memory.reserved(address);
}

cudaError_t enqueueCopy(Copy copy, cudaMemcpyKind kind, cudaStream_t stream, bool wait) {
  SIMT_ANSWER_FAULT();
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  const DeviceMemory& memory = DeviceMemory::instance();
  bool toDevice = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  bool fromDevice = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault) {
    toDevice = memory.reserved(copy.target);
    fromDevice = memory.reserved(copy.source);
  }
  if (!plausible(copy.target, copy.targetBytes(), toDevice)) return failed(cudaErrorInvalidValue);
  if (!plausible(copy.source, copy.sourceBytes(), fromDevice)) return failed(cudaErrorInvalidValue);
  const uint64_t bytes = copy.width * copy.height;
  simt::TraceEntry entry{"copy", toDevice ? fromDevice ? "deviceToDevice" : "hostToDevice" : "deviceToHost"};
  entry.bytesRead = entry.bytesWritten = bytes;
  simt::trace(entry);
  if (!fromDevice && !locked().contains(copy.source)) {
    auto staged = std::make_shared<std::vector<char>>(copy.source, copy.source + copy.sourceBytes());
    copy.source = staged->data();
    // Only the worker holds it from here on, since ThreadSanitizer sees no order in a reference count of this
    // uninstrumented code.
    simt::enqueue(stream, {[copy, staged = std::move(staged)] { copy.run(); }, nullptr});
  } else {
    simt::enqueue(stream, {[copy] { copy.run(); }, nullptr});
  }
  if (wait || (!toDevice && !locked().contains(copy.target))) simt::waitForStream(stream);
  return cudaSuccess;
}

cudaError_t enqueueMemset(void* target, int value, size_t bytes, cudaStream_t stream) {
  SIMT_ANSWER_FAULT();
  if (bytes == 0) return cudaSuccess;
  if (!plausible(target, bytes, true)) return failed(cudaErrorInvalidValue);
  simt::TraceEntry entry{"memset", "memset"};
  entry.bytesWritten = bytes;
  simt::trace(entry);
  // If nothing is computed, a trace may use more memory than this machine has, so it is not touched.
  if (simt::settings().compute) simt::enqueue(stream, {[=] { std::memset(target, value, bytes); }, nullptr});
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaMalloc(void** address, size_t bytes) {
  *address = nullptr;
  SIMT_ANSWER_FAULT();
  if (bytes == 0) return cudaSuccess;
  if (simt::allocationFault()) return failed(cudaErrorMemoryAllocation);
  *address = DeviceMemory::instance().allocate(simt::currentDevice(), bytes);
  return *address ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}

/// Waits for the device first, like CUDA's.
cudaError_t cudaFree(void* address) {
  SIMT_ANSWER_FAULT();
  if (!address) return cudaSuccess;
  for (int device = 0; device < simt::settings().devices; ++device) simt::waitForDevice(device);
  return DeviceMemory::instance().release(address) ? cudaSuccess : failed(cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  SIMT_ANSWER_FAULT();
  *address = bytes ? std::aligned_alloc(kHostAlignment, (bytes + kHostAlignment - 1) / kHostAlignment * kHostAlignment)
                   : nullptr;
  if (!*address) return bytes ? failed(cudaErrorMemoryAllocation) : cudaSuccess;
  std::memset(*address, 0xff, bytes);
  locked().add(*address, bytes);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** address, size_t bytes) { return cudaHostAlloc(address, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void* address) {
  if (!address) return cudaSuccess;
  for (int device = 0; device < simt::settings().devices; ++device) simt::waitForDevice(device);
  if (!locked().remove(address)) return failed(cudaErrorInvalidValue);
  std::free(address);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t bytes, cudaMemcpyKind kind) {
  const Copy copy{static_cast<char*>(target), bytes, static_cast<const char*>(source), bytes, bytes, 1};
  return enqueueCopy(copy, kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Copy copy{static_cast<char*>(target), bytes, static_cast<const char*>(source), bytes, bytes, 1};
  return enqueueCopy(copy, kind, stream, false);
}

cudaError_t cudaMemcpy2DAsync(void* target, size_t targetPitch, const void* source, size_t sourcePitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width > targetPitch || width > sourcePitch) return failed(cudaErrorInvalidValue);
  const Copy copy{
      static_cast<char*>(target), targetPitch, static_cast<const char*>(source), sourcePitch, width, height};
  return enqueueCopy(copy, kind, stream, false);
}

cudaError_t cudaMemset(void* target, int value, size_t bytes) {
  const cudaError_t error = enqueueMemset(target, value, bytes, nullptr);
  if (error == cudaSuccess) simt::waitForStream(nullptr);
  return error;
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  return enqueueMemset(target, value, bytes, stream);
}
