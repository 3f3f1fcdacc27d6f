// For systems without anonymous files.
#include "core/system/shared_memory.h"

#include "core/error.h"

namespace mora {
namespace {

[[noreturn]] void refuse() {
  throw Unsupported(
      "Processes share memory on Linux alone: on this system each of the ranks holds a base model of its own.");
}

}  // namespace

int createSharedMemory() { refuse(); }

uint64_t sharedBytes(int) { refuse(); }

void growSharedMemory(int, uint64_t) { refuse(); }

void* mapSharedMemory(int, uint64_t, uint64_t, Mapping) { refuse(); }

void unmapSharedMemory(void*, uint64_t) { refuse(); }

}  // namespace mora
