// What a kernel's thread sees of itself, and where threads meet. The variables belong to the OS thread that runs the
// block and are set whenever it goes on with another of the block's threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <source_location>

#include "simt/kernels/vector_types.h"

#define SIMT_THREAD_LOCAL extern thread_local constinit __attribute__((tls_model("initial-exec")))

SIMT_THREAD_LOCAL uint3 threadIdx;
SIMT_THREAD_LOCAL uint3 blockIdx;
SIMT_THREAD_LOCAL dim3 blockDim;
SIMT_THREAD_LOCAL dim3 gridDim;
constexpr int warpSize = 32;

namespace simt {

SIMT_THREAD_LOCAL unsigned currentLane;

/// Runs once all lanes have come, in the lane that came last; `operands` has what each lane of `lanes` brought.
using Completion = void (*)(void* const operands[32], uint32_t lanes);

/// Waits for all lanes of `mask` that have not returned.
void meet(uint32_t mask, void* operand, Completion complete, const char* operation, std::source_location where);

/// Waits for all threads of the block. Returns for how many of them `predicate` holds.
unsigned meetBlock(bool predicate, const char* operation, std::source_location where);

/// The block's storage of one declaration, which `key` stands for: the same for all threads, NaN when the block starts.
void* sharedStorage(const void* key, size_t bytes, const char* name, std::source_location where);
void* dynamicShared();

/// Prints the sentence with the kernel, block and thread that run, and ends the process.
[[noreturn]] void fail(std::source_location where, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace simt
