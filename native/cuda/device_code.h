// Every kernel includes this file. nvcc compiles the sources for GPUs; with the headers of test/simt in place of
// CUDA's, a C++ compiler compiles them for the emulator. Only these few macros and functions differ.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/launch_cost.h"

#if defined(__CUDACC__)

/// Static shared memory: MORA_SHARED(float, partial, [32]);
#define MORA_SHARED(Type, name, ...) __shared__ Type name __VA_ARGS__
/// Dynamic shared memory as a pointer, 16-byte aligned: MORA_DYNAMIC_SHARED(float, rows);
#define MORA_DYNAMIC_SHARED(Type, name)                          \
  extern __shared__ __align__(16) unsigned char dynamicShared[]; \
  Type* name = reinterpret_cast<Type*>(dynamicShared)

namespace mora::cuda {

/// Launches a kernel; the caller's cudaGetLastError reports a failure.
template <typename Kernel, typename... Args>
void launch(Kernel kernel, dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream, Args... args) {
  kernel<<<grid, block, sharedBytes, stream>>>(args...);
}

/// States the bytes and FLOPs of the next kernel.
inline void expectCost(uint64_t bytesRead, uint64_t bytesWritten, uint64_t flops = 0) {
  launchCost.bytes += bytesRead + bytesWritten;
  launchCost.flops += flops;
}

/// d [16, 8] += a [16, 16] b [16, 8] by one warp, bf16 in, f32 out; fragments as in PTX's mma.m16n8k16.
__device__ __forceinline__ void multiplyTile(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                             __nv_bfloat16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// multiplyTile for f16.
__device__ __forceinline__ void multiplyTile(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Starts copying 16 bytes from global to shared memory, both 16-byte aligned. The thread that started it may read them
/// after waitForCopies, others after a barrier that follows.
__device__ __forceinline__ void copyAsync16(void* shared, const void* global) {
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))),
      "l"(global)
      : "memory");
}

/// Waits for all copies that this thread has started.
__device__ __forceinline__ void waitForCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace mora::cuda

#else
#include "simt/device_code.h"
#endif

namespace mora::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ float toFloat(float value) { return value; }
__device__ __forceinline__ float toFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float toFloat(__half value) { return __half2float(value); }

/// Rounds to the nearest even value of T.
template <typename T>
__device__ __forceinline__ T fromFloat(float value);
template <>
__device__ __forceinline__ float fromFloat<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __nv_bfloat16 fromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half fromFloat<__half>(float value) {
  return __float2half_rn(value);
}

/// Sum over the lanes of a full warp, the same in every lane.
__device__ __forceinline__ float warpSum(float value) {
  for (unsigned offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

__device__ __forceinline__ float warpMax(float value) {
  for (unsigned offset = kWarp / 2; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, offset));
  return value;
}

}  // namespace mora::cuda
