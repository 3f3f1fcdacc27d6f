#include "core/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace mora {
namespace {

[[noreturn]] void fail(const char* what) {
  throw Error(errno == ENOMEM || errno == ENOSPC ? "out-of-memory" : "operation-failed",
              std::string(what) + ": " + std::strerror(errno) + ".");
}

/// The object's size. Throws if it may shrink, as a file may: reading beyond its end would end the process (SIGBUS).
uint64_t sizeOf(int descriptor) {
  struct stat facts {};
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals >= 0 && !(seals & F_SEAL_SHRINK)) errno = EINVAL;
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) fail("Memory that processes share could not be read");
  if (fstat(descriptor, &facts) != 0) fail("Memory that processes share could not be read");
  return static_cast<uint64_t>(facts.st_size);
}

/// @param counted the bytes that count as this process's
Tensor mapped(Device& device, int descriptor, uint64_t offset, uint64_t bytes, int flags, uint64_t counted) {
  if (device.kind() != "cpu")
    throw Error("invalid-argument", "Shared memory is that of the device cpu, not of " + device.describe() + ".");
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, static_cast<off_t>(offset));
  if (data == MAP_FAILED) fail("Memory that processes share could not be mapped");
  const auto share = static_cast<int64_t>(counted);
  device.countMapped(share);
  return Tensor::over(device,
                      {data,
                       [&device, bytes, share](void* start) {
                         munmap(start, bytes);
                         device.countMapped(-share);
                       }},
                      bytes);
}

}  // namespace

int createSharedMemory() {
  const int descriptor = memfd_create("mora", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) fail("Memory for processes to share could not be had");
  // Reading beyond the end would end the process (SIGBUS).
  if (fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK) == 0) return descriptor;
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  fail("Memory for processes to share could not be kept whole");
}

Tensor mapToWrite(Device& device, int descriptor, uint64_t offset, uint64_t bytes) {
  const uint64_t end = offset + bytes;
  if (sizeOf(descriptor) < end && ftruncate(descriptor, static_cast<off_t>(end)) != 0)
    fail("Memory for processes to share could not be made larger");
  return mapped(device, descriptor, offset, bytes, MAP_SHARED, bytes);
}

Tensor mapToRead(Device& device, int descriptor, uint64_t bytes, uint64_t readers) {
  const uint64_t size = sizeOf(descriptor);
  if (size < bytes || readers == 0)
    throw Error("invalid-argument", "Expected at most the " + std::to_string(size) +
                                        " bytes that processes share, and readers, but received " +
                                        std::to_string(bytes) + " and " + std::to_string(readers) + ".");
  return mapped(device, descriptor, 0, bytes, MAP_PRIVATE | MAP_NORESERVE, bytes / readers);
}

}  // namespace mora
