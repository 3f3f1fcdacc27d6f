#include "cuda/runtime/completions.h"

#include <future>

#include "cuda/runtime/check.h"

namespace mora::cuda {

// Threads live as long as the process.
Completions::Completions(int device) : worker_(*new Worker) {
  worker_.enqueue([device] { cudaSetDevice(device); });
}

cudaEvent_t Completions::take(unsigned flags, std::vector<cudaEvent_t>& from) {
  {
    const std::lock_guard lock(mutex_);
    if (!from.empty()) {
      const cudaEvent_t event = from.back();
      from.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, flags), "an event");
  return event;
}

cudaEvent_t Completions::record(unsigned flags, std::vector<cudaEvent_t>& from, cudaStream_t stream) {
  const cudaEvent_t event = take(flags, from);
  const cudaError_t error = cudaEventRecord(event, stream);
  if (error != cudaSuccess) putBack(event, from);
  check(error, "recording an event");
  return event;
}

void Completions::putBack(cudaEvent_t event, std::vector<cudaEvent_t>& to) {
  const std::lock_guard lock(mutex_);
  to.push_back(event);
}

void Completions::whenReached(cudaStream_t stream, Function function) {
  const cudaEvent_t event = record(cudaEventDisableTiming | cudaEventBlockingSync, untimed_, stream);
  worker_.enqueue([this, event, function = std::move(function)] {
    const cudaError_t error = cudaEventSynchronize(event);
    putBack(event, untimed_);
    function(error);
  });
}

cudaEvent_t Completions::now(cudaStream_t stream) { return record(cudaEventBlockingSync, timed_, stream); }

void Completions::whenReached(cudaStream_t stream, cudaEvent_t start, std::function<void(double)> function) {
  worker_.enqueue([this, start, end = now(stream), function = std::move(function)] {
    float milliseconds = 0;
    cudaEventSynchronize(end);
    const bool measured = cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess;
    putBack(start, timed_);
    putBack(end, timed_);
    if (measured) function(milliseconds / 1e3);
  });
}

void Completions::drain() {
  std::promise<void> done;
  worker_.enqueue([&done] { done.set_value(); });
  done.get_future().wait();
}

}  // namespace mora::cuda
