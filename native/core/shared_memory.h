// Memory that several processes of a machine have once: an object without a name, which others open as
// /proc/PID/fd/DESCRIPTOR. The system frees it with its last descriptor and mapping, however the processes end.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace mora {

/// The descriptor of a new object, which is empty and is never made smaller. Throws Error with the system's reason.
int createSharedMemory();

/// Bytes [offset, offset + bytes) of an object, for all that map it to be written: uint8 [bytes] of the device cpu. The
/// object grows as needed; `offset` is a multiple of a page. Throws Error with the system's reason.
Tensor mapToWrite(Device& device, int descriptor, uint64_t offset, uint64_t bytes);

/// The first bytes of an object, as one of so many readers: uint8 [bytes] of the device cpu. Pages that this process
/// writes become its own. Throws Error where there are fewer.
Tensor mapToRead(Device& device, int descriptor, uint64_t bytes, uint64_t readers);

}  // namespace mora
