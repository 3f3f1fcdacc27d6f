#include "core/shared_memory.h"

#include <string>

namespace mora {
namespace {

/// @param counted the bytes that count as this process's
Tensor mapped(Device& device, int descriptor, uint64_t offset, uint64_t bytes, Mapping mapping, uint64_t counted) {
  if (device.kind() != "cpu")
    throw Error("invalid-argument", "Shared memory is that of the device cpu, not of " + device.describe() + ".");
  void* const data = mapSharedMemory(descriptor, offset, bytes, mapping);
  const auto share = static_cast<int64_t>(counted);
  device.countMapped(share);
  return Tensor::over(device,
                      {data,
                       [&device, bytes, share](void* start) {
                         unmapSharedMemory(start, bytes);
                         device.countMapped(-share);
                       }},
                      bytes);
}

}  // namespace

Tensor mapToWrite(Device& device, int descriptor, uint64_t offset, uint64_t bytes) {
  const uint64_t end = offset + bytes;
  if (sharedBytes(descriptor) < end) growSharedMemory(descriptor, end);
  return mapped(device, descriptor, offset, bytes, Mapping::shared, bytes);
}

Tensor mapToRead(Device& device, int descriptor, uint64_t bytes, uint64_t readers) {
  const uint64_t size = sharedBytes(descriptor);
  if (size < bytes || readers == 0)
    throw Error("invalid-argument", "Expected at most the " + std::to_string(size) +
                                        " bytes that processes share, and readers, but received " +
                                        std::to_string(bytes) + " and " + std::to_string(readers) + ".");
  return mapped(device, descriptor, 0, bytes, Mapping::own, bytes / readers);
}

}  // namespace mora
