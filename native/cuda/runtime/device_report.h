// Errors that only the device can detect, worded like the CPU backend's.
#pragma once
#include "core/backend.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

/// The reported error; status ok if there is none.
StreamError errorOf(const DeviceReport& report);
/// The error of a device that this process has lost.
StreamError errorOf(const DeviceLost& lost);

}  // namespace mora::cuda
