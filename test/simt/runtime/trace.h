// Records what runs on the device, in the order in which it was enqueued: one JSON object per line in the file that
// MORA_SIMT_TRACE names.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

namespace simt {

struct TraceEntry {
  const char* kind;  // "kernel", "product", "copy", "memset"
  std::string name;
  dim3 grid = 0, block = 0;  // kernels
  uint64_t sharedBytes = 0;  // dynamic
  uint64_t bytesRead = 0, bytesWritten = 0, flops = 0;
  bool aligned = true;  // products: every operand can be read or written 16 bytes at a time
};

bool tracing();
void trace(const TraceEntry& entry);

/// Adds the bytes and FLOPs of a kernel, stated by its launcher, to the trace entry of the calling thread's next
/// launch.
void expectCost(uint64_t bytesRead, uint64_t bytesWritten, uint64_t flops);

}  // namespace simt
