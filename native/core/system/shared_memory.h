// Memory that processes of a machine share: an object without a name, which the system frees with its last descriptor
// and mapping, however the processes end. On a system without such objects, each function throws Error("unsupported").
#pragma once
#include <cstdint>

namespace mora {

/// Creates an empty object that cannot shrink and returns its descriptor. Throws Error with the system's reason.
int createSharedMemory();

/// The object's size in bytes. Throws Error if it may shrink, as a file may.
uint64_t sharedBytes(int descriptor);

/// Makes an object larger. Throws Error with the system's reason.
void growSharedMemory(int descriptor, uint64_t bytes);

enum class Mapping {
  shared,  // all who map it see what is written
  own,     // pages that this process writes become its own copies
};

/// Maps bytes [offset, offset + bytes) of an object; `offset` is a multiple of a page. Throws Error with the system's
/// reason.
void* mapSharedMemory(int descriptor, uint64_t offset, uint64_t bytes, Mapping mapping);
void unmapSharedMemory(void* start, uint64_t bytes);

}  // namespace mora
