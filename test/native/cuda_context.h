// The Context of a backend's stream for tests that call launchers directly, without the threads that issue operations.
#pragma once
#include <stdexcept>

#include "cuda/runtime/scratch.h"

namespace mora::test {

class TestContext {
 public:
  cuda::Context context{};

  TestContext() {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || cudaStreamCreate(&context.stream) != cudaSuccess ||
        cudaMalloc(&context.report, sizeof(cuda::DeviceReport)) != cudaSuccess)
      throw std::runtime_error("no CUDA device");
    context.memory = &scratch_;
    context.multiprocessors = properties.multiProcessorCount;
    context.sharedBytesPerBlock = properties.sharedMemPerBlockOptin;
    takeReport();
  }
  ~TestContext() {
    completions_.drain();
    cudaStreamSynchronize(context.stream);
    scratch_.releaseAll();
    cudaFree(context.report);
    cudaStreamDestroy(context.stream);
  }
  TestContext(const TestContext&) = delete;
  TestContext& operator=(const TestContext&) = delete;

  /// Waits for everything enqueued and returns what kernels have reported since the last call.
  cuda::DeviceReport takeReport() {
    cuda::DeviceReport report{};
    cudaDeviceSynchronize();
    cudaMemcpy(&report, context.report, sizeof(report), cudaMemcpyDeviceToHost);
    cudaMemset(context.report, 0, sizeof(report));
    cudaDeviceSynchronize();
    return report;
  }

 private:
  cuda::Memory pool_{0, uint64_t{1} << 32};
  cuda::Staging staging_;
  cuda::Completions completions_{0};
  cuda::Context::Memory scratch_{pool_, staging_, completions_, {}};
};

}  // namespace mora::test
