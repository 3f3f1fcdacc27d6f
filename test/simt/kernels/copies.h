// Asynchronous copies from global to shared memory (cp.async), late: what they read and write happens when the thread
// that started them waits. Reads and writes are inlined into the kernels, so that sanitizers see them.
#pragma once
#include <source_location>
#include <span>

#include "simt/kernels/vector_types.h"

namespace simt {

struct PendingCopy {
  uint4* to;
  const uint4* from;
};

/// Fails unless the copy leads to shared memory and both ends are aligned to 16 bytes.
void checkCopy(PendingCopy copy, std::source_location where);
/// Notes a copy of the running thread; until it is taken, AddressSanitizer lets nobody touch where it leads.
void addPendingCopy(PendingCopy copy, std::source_location where);
/// Those of the running thread, which has none afterwards.
std::span<const PendingCopy> takePendingCopies();

inline void startCopy(PendingCopy copy, std::source_location where) {
  checkCopy(copy, where);
  const uint4 early = *copy.from;
  asm volatile("" ::"m"(early));  // read here, too: who reads out of bounds is found where the copy starts
  *copy.to = uint4{~0u, ~0u, ~0u, ~0u};
  addPendingCopy(copy, where);
}

inline void endCopies() {
  for (const PendingCopy& copy : takePendingCopies()) *copy.to = *copy.from;
}

}  // namespace simt
