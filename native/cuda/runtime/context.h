// What a launcher receives besides its operands: the stream, the device's properties, scratch memory and products. One
// per stream; used by one thread at a time.
#pragma once
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/backend.h"

namespace mora::cuda {

/// What kernels found wrong in data that the host cannot see; the first report is kept and the next callback reads it.
struct DeviceReport {
  int32_t operation;  // Operation, 0: nothing was wrong
  int32_t position;   // of the index in its list
  int64_t value;
  int64_t limit;  // indices lie in [0, limit)
};

class Products;

/// The key of kept memory: a number of the caller's, and the sizes that the contents depend on.
using KeptKey = std::array<int64_t, 3>;

/// What scratch memory is for. An operation that enqueues others keeps its own in another slot than theirs.
enum class Slot {
  partials,      // sums of rows and chunks, for the next kernel
  intermediate,  // what an operation hands to the operations that it consists of
  sections,      // the gradient of the sections' distinct outputs
  left,          // a product's operands and sums, where cuBLAS cannot take the tensors themselves
  right,
  sums,
  panel,   // values of a frozen matrix, for a product
  upload,  // data of the host
};

struct Context {
  cudaStream_t stream;
  int32_t multiprocessors;
  size_t sharedBytesPerBlock;  // with opt-in
  DeviceReport* report;        // device memory
  uint64_t issued;             // operations before this one
  Products* products;

  /// Stream-ordered scratch memory, 256-byte aligned: valid for what is enqueued before the next call with that slot.
  void* scratch(Slot slot, size_t bytes);
  /// Memory that keeps its contents under a key, 256-byte aligned: `fresh` where it has none yet. Valid for what is
  /// enqueued before the next call, since a full cache is emptied.
  struct Kept {
    void* data;
    bool fresh;
  };
  Kept kept(const KeptKey& key, size_t bytes);
  /// Working memory of the device; frees cached memory if there is no other. Throws std::bad_alloc.
  void* allocateWorking(size_t bytes);
  /// Copies host data into scratch memory of a slot of its own; the host data may be freed at once.
  const void* upload(const void* host, size_t bytes);

  struct Memory;
  Memory* memory;
};

/// Throws mora::Error with the operation's name if the last launch failed, DeviceLost if what failed came before it.
void checkLaunch(const char* operation);

}  // namespace mora::cuda
