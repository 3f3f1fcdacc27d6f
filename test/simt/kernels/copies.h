// Asynchronous copies from global to shared memory (cp.async), delayed: their reads and writes happen when the thread
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

/// Fails unless the target is shared memory and both ends are aligned to 16 bytes.
void checkCopy(PendingCopy copy, std::source_location where);
/// Records a copy of the running thread; until it is taken, AddressSanitizer reports accesses to the target.
void addPendingCopy(PendingCopy copy, std::source_location where);
/// Removes and returns the running thread's copies.
std::span<const PendingCopy> takePendingCopies();

inline void startCopy(PendingCopy copy, std::source_location where) {
  checkCopy(copy, where);
  const uint4 early = *copy.from;
  asm volatile("" ::"m"(early));  // reads here too, so that a read out of bounds is reported where the copy starts
  *copy.to = uint4{~0u, ~0u, ~0u, ~0u};
  addPendingCopy(copy, where);
}

inline void endCopies() {
  for (const PendingCopy& copy : takePendingCopies()) *copy.to = *copy.from;
}

}  // namespace simt
