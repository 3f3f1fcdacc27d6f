// Errors that only the device knows, in the words of the CPU backend.
#pragma once
#include "core/backend.h"
#include "cuda/check.h"
#include "cuda/context.h"

namespace mora::cuda {

/// Status ok where nothing was reported.
StreamError errorOf(const DeviceReport& report);
/// Of a device that this process has lost.
StreamError errorOf(const DeviceLost& lost);

}  // namespace mora::cuda
