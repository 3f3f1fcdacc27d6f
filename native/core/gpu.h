// What GPUs have beside the table of operations that every device has.
#pragma once
#include <functional>
#include <string>

#include "core/backend.h"
#include "core/device.h"

namespace mora {

/// Work of another library on a stream of its own.
struct SideWork {
  /// Enqueues it on `stream`, which is the runtime's own (a cudaStream_t), on a thread of the backend that may wait and
  /// whose device is current. Null, or why it failed: a sentence without its full stop, valid until `done`.
  const char* (*issue)(void* user, void* stream);
  /// Called once, when the device has done what was issued, or when nothing will be; on any thread.
  void (*done)(void* user, const StreamError* error);
  void* user;
};

/// As `Backend`, plain: the CUDA backend's library gives it as `moraCudaExtras`.
struct CudaExtras {
  uint32_t abi;  // kCudaExtrasAbi
  /// The UUID, which tells a GPU from all others.
  Status (*identify)(int32_t device, char* id, size_t capacity);
  /// Begins work once everything before it is done, on a second stream beside what is enqueued from here on, and one
  /// such work after the other. What it works on must stay as it is until `done`, which is called whatever is returned.
  Status (*beside)(Stream* stream, SideWork work);
  /// What is enqueued from here on begins once all such work that was begun before is done, or has failed.
  Status (*join)(Stream* stream);
};
/// Counted up where the structures here change.
constexpr uint32_t kCudaExtrasAbi = 2;
using CudaExtrasEntry = const CudaExtras*();

/// The UUID of a GPU that is there; empty for another device.
std::string idOf(const Device& device);
/// See CudaExtras::beside. What `issue` throws is the error of `done`. Throws Error where the device is no GPU.
void beside(Device& device, std::function<void(void* stream)> issue, std::function<void(const StreamError&)> done);
/// See CudaExtras::join. Throws Error where the device is no GPU.
void join(Device& device);

}  // namespace mora
