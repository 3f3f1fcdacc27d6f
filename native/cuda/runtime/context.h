// What a launcher needs besides its operands: the stream, the device's properties, scratch memory and products. One per
// stream; used by one thread at a time.
#pragma once
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/backend.h"

namespace mora::cuda {

/// Errors that kernels find in device data; the first report is kept and the next callback reads it.
struct DeviceReport {
  int32_t operation;  // Operation; 0 if nothing was wrong
  int32_t position;   // of the index in its list
  int64_t value;
  int64_t limit;  // indices lie in [0, limit)
};

class Products;

/// The key of kept memory: a number of the caller's choice, and the sizes that the contents depend on.
using KeptKey = std::array<int64_t, 3>;

/// The purpose of scratch memory. An operation that enqueues others uses a different slot than they do.
enum class Slot {
  partials,      // sums of rows and chunks, for the next kernel
  intermediate,  // what an operation passes to the operations it consists of
  sections,      // the gradient of the sections' distinct outputs
  left,          // a product's operands and sums, if cuBLAS does not support the tensors themselves
  right,
  sums,
  panel,   // values of a frozen matrix, for a product
  upload,  // data from the host
};

struct Context {
  cudaStream_t stream;
  int32_t multiprocessors;
  size_t sharedBytesPerBlock;  // with opt-in
  DeviceReport* report;        // device memory
  uint64_t issued;             // number of operations before this one
  Products* products;

  /// Stream-ordered scratch memory, 256-byte aligned: valid for what is enqueued before the next call with that slot.
  void* scratch(Slot slot, size_t bytes);
  /// Memory that keeps its contents under a key, 256-byte aligned; `fresh` if it has none yet. Valid for what is
  /// enqueued before the next call, since a full cache is emptied.
  struct Kept {
    void* data;
    bool fresh;
  };
  Kept kept(const KeptKey& key, size_t bytes);
  /// Working memory of the device; frees cached memory if needed. Throws std::bad_alloc.
  void* allocateWorking(size_t bytes);
  /// Copies host data into a scratch slot for uploads; the host data may be freed at once.
  const void* upload(const void* host, size_t bytes);

  struct Memory;
  Memory* memory;
};

/// Throws mora::Error with the operation's name if the last launch failed, DeviceLost if an earlier operation did.
void checkLaunch(const char* operation);

}  // namespace mora::cuda
