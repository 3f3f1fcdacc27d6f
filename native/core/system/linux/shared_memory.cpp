#include "core/system/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace mora {
namespace {

[[noreturn]] void fail(const char* what) {
  throw Error(errno == ENOMEM || errno == ENOSPC ? "out-of-memory" : "operation-failed",
              std::string(what) + ": " + std::strerror(errno) + ".");
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

uint64_t sharedBytes(int descriptor) {
  struct stat facts {};
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals >= 0 && !(seals & F_SEAL_SHRINK)) errno = EINVAL;
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) fail("Memory that processes share could not be read");
  if (fstat(descriptor, &facts) != 0) fail("Memory that processes share could not be read");
  return static_cast<uint64_t>(facts.st_size);
}

void growSharedMemory(int descriptor, uint64_t bytes) {
  if (ftruncate(descriptor, static_cast<off_t>(bytes)) != 0)
    fail("Memory for processes to share could not be made larger");
}

void* mapSharedMemory(int descriptor, uint64_t offset, uint64_t bytes, Mapping mapping) {
  const int flags = mapping == Mapping::shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE;
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, static_cast<off_t>(offset));
  if (data == MAP_FAILED) fail("Memory that processes share could not be mapped");
  return data;
}

void unmapSharedMemory(void* start, uint64_t bytes) { munmap(start, bytes); }

}  // namespace mora
