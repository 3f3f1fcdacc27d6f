// Tensors over memory that processes of a machine share (core/system/shared_memory.h). On Linux, others open an object
// as /proc/PID/fd/DESCRIPTOR.
#pragma once
#include <cstdint>

#include "core/system/shared_memory.h"
#include "core/tensor.h"

namespace mora {

/// Maps bytes [offset, offset + bytes) of an object; all who map them see what is written. Returns uint8 [bytes] of the
/// device cpu. The object grows as needed; `offset` is a multiple of a page. Throws Error with the system's reason.
Tensor mapToWrite(Device& device, int descriptor, uint64_t offset, uint64_t bytes);

/// Maps the first bytes of an object, as one of `readers` readers. Returns uint8 [bytes] of the device cpu; pages that
/// this process writes become its own copies. Throws Error if the object is smaller.
Tensor mapToRead(Device& device, int descriptor, uint64_t bytes, uint64_t readers);

}  // namespace mora
