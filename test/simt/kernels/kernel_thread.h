// A kernel thread's view of itself, and where threads meet. The variables belong to the OS thread that runs the block,
// which sets them whenever it switches to another of the block's threads.
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

/// Runs once all lanes have arrived, in the last one; `operands` are the lanes' arguments.
using Completion = void (*)(void* const operands[32], uint32_t lanes);

/// Waits for all lanes of `mask` that have not returned.
void meet(uint32_t mask, void* operand, Completion complete, const char* operation, std::source_location where);

/// Waits for all threads of the block. Returns the number of threads whose `predicate` holds.
unsigned meetBlock(bool predicate, const char* operation, std::source_location where);

/// The block's storage of the declaration `key`: shared by all threads, NaN when the block starts.
void* sharedStorage(const void* key, size_t bytes, const char* name, std::source_location where);
void* dynamicShared();

/// Prints the message with the running kernel, block and thread, and ends the process.
[[noreturn]] void fail(std::source_location where, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace simt
