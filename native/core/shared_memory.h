// Memory that processes of a machine share: an object without a name, which others open as /proc/PID/fd/DESCRIPTOR. The
// system frees it with its last descriptor and mapping, however the processes end.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace mora {

/// Creates an empty object that cannot shrink and returns its descriptor. Throws Error with the system's reason.
int createSharedMemory();

/// Maps bytes [offset, offset + bytes) of an object; all who map them see what is written. Returns uint8 [bytes] of the
/// device cpu. The object grows as needed; `offset` is a multiple of a page. Throws Error with the system's reason.
Tensor mapToWrite(Device& device, int descriptor, uint64_t offset, uint64_t bytes);

/// Maps the first bytes of an object, as one of `readers` readers. Returns uint8 [bytes] of the device cpu; pages that
/// this process writes become its own copies. Throws Error if the object is smaller.
Tensor mapToRead(Device& device, int descriptor, uint64_t bytes, uint64_t readers);

}  // namespace mora
