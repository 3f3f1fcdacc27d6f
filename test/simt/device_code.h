// The emulator's part of native/cuda/device_code.h: shared memory, launches, the tensor cores' product, and
// asynchronous copies.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <functional>

#include "cuda/launch_cost.h"
#include "simt/kernels/copies.h"
#include "simt/runtime/trace.h"

#define MORA_SHARED(Type, name, ...)            \
  using name##SharedType = Type __VA_ARGS__;    \
  static const char name##SharedKey = 0;        \
  auto& name = *static_cast<name##SharedType*>( \
      ::simt::sharedStorage(&name##SharedKey, sizeof(name##SharedType), #name, std::source_location::current()))
#define MORA_DYNAMIC_SHARED(Type, name) Type* name = static_cast<Type*>(::simt::dynamicShared())

namespace simt {

/// Enqueues a kernel onto the stream; errors that CUDA would return are kept for cudaGetLastError.
void launch(const void* kernel, dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream,
            std::function<void()> thread);

template <typename Storage>
void multiplyTile(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], std::source_location where);
extern template void multiplyTile<__nv_bfloat16>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                                                 std::source_location);
extern template void multiplyTile<__half>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                                          std::source_location);

}  // namespace simt

namespace mora::cuda {

/// Launches a kernel; the caller's cudaGetLastError reports a failure.
template <typename Kernel, typename... Args>
void launch(Kernel kernel, dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream, Args... args) {
  ::simt::launch(reinterpret_cast<const void*>(kernel), grid, block, sharedBytes, stream, [=] { kernel(args...); });
}

/// States the bytes and FLOPs of the next kernel, for the trace, too.
inline void expectCost(uint64_t bytesRead, uint64_t bytesWritten, uint64_t flops = 0) {
  launchCost.bytes += bytesRead + bytesWritten;
  launchCost.flops += flops;
  ::simt::expectCost(bytesRead, bytesWritten, flops);
}

/// d [16, 8] += a [16, 16] b [16, 8] by one warp, bf16 in, f32 out; fragments as in PTX's mma.m16n8k16.
inline void multiplyTile(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __nv_bfloat16,
                         std::source_location where = std::source_location::current()) {
  ::simt::multiplyTile<__nv_bfloat16>(d, a, b, where);
}

/// multiplyTile for f16.
inline void multiplyTile(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half,
                         std::source_location where = std::source_location::current()) {
  ::simt::multiplyTile<__half>(d, a, b, where);
}

/// Starts copying 16 bytes from global to shared memory, both 16-byte aligned. They arrive as late as possible: when
/// the thread waits. Until then the target is NaN, and AddressSanitizer reports accesses to it.
inline void copyAsync16(void* shared, const void* global,
                        std::source_location where = std::source_location::current()) {
  ::simt::startCopy({static_cast<uint4*>(shared), static_cast<const uint4*>(global)}, where);
}

/// Completes all copies that this thread has started.
inline void waitForCopies() { ::simt::endCopies(); }

}  // namespace mora::cuda
