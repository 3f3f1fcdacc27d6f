// Calls functions once a stream has passed a point, in order and on a separate thread, so that the stream never waits
// for host code, and the functions may wait for locks.
#pragma once
#include <cuda_runtime.h>

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "core/process/worker.h"

namespace mora::cuda {

class Completions {
 public:
  /// Called with the result of waiting for the point; once the device has failed, always with its error.
  using Function = std::function<void(cudaError_t)>;

  explicit Completions(int device);
  void whenReached(cudaStream_t stream, Function function);
  /// whenReached, with the seconds that the device worked since `start`, which `now` returned.
  void whenReached(cudaStream_t stream, cudaEvent_t start, std::function<void(double seconds)> function);
  /// Calls a function after the earlier ones, whatever the device does.
  void afterOthers(std::function<void()> function) { worker_.enqueue(std::move(function)); }
  /// Records a point in time of the stream.
  cudaEvent_t now(cudaStream_t stream);
  /// Waits until all functions have been called.
  void drain();

 private:
  cudaEvent_t take(unsigned flags, std::vector<cudaEvent_t>& from);
  /// An event that the stream reaches after everything enqueued so far.
  cudaEvent_t record(unsigned flags, std::vector<cudaEvent_t>& from, cudaStream_t stream);
  void putBack(cudaEvent_t event, std::vector<cudaEvent_t>& to);

  std::mutex mutex_;
  std::vector<cudaEvent_t> untimed_, timed_;  // not in use
  Worker& worker_;
};

}  // namespace mora::cuda
