// Functions of GPUs beyond the table of operations that all devices share.
#pragma once
#include <functional>
#include <string>

#include "core/backend.h"
#include "core/device.h"

namespace mora {

/// Work of another library (NCCL) on a second stream.
struct SideWork {
  /// Enqueues the work on `stream`, a cudaStream_t, on a thread of the backend that may block and whose current device
  /// is set. Returns null, or an error: a sentence without its full stop, valid until `done`.
  const char* (*issue)(void* user, void* stream);
  /// Called once, on any thread, when the device has finished the work or never will.
  void (*done)(void* user, const StreamError* error);
  void* user;
};

/// A plain table like `Backend`; the CUDA backend's library exports it as `moraCudaExtras`.
struct CudaExtras {
  uint32_t abi;  // kCudaExtrasAbi
  /// Writes the GPU's UUID.
  Status (*identify)(int32_t device, char* id, size_t capacity);
  /// Starts work on a second stream once everything enqueued before is done, in the order of these calls. What is
  /// enqueued later runs beside it. The work's memory must not change until `done`, which is called whatever is
  /// returned.
  Status (*beside)(Stream* stream, SideWork work);
  /// Makes everything enqueued from here on wait for all such work.
  Status (*join)(Stream* stream);
};
/// Increment when the structures here change.
constexpr uint32_t kCudaExtrasAbi = 2;
using CudaExtrasEntry = const CudaExtras*();

/// The UUID of an available GPU; empty for another device.
std::string idOf(const Device& device);
/// See CudaExtras::beside. An exception of `issue` becomes the error of `done`. Throws Error if the device is no GPU.
void beside(Device& device, std::function<void(void* stream)> issue, std::function<void(const StreamError&)> done);
/// See CudaExtras::join. Throws Error if the device is no GPU.
void join(Device& device);

}  // namespace mora
