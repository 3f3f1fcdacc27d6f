// A second stream of a device, for another library's work beside the operations. It has a thread of its own, since such
// a library may wait for other processes.
#pragma once
#include <cuda_runtime.h>

#include <memory>
#include <string>

#include "core/gpu.h"
#include "core/process/worker.h"
#include "cuda/runtime/completions.h"

namespace mora::cuda {

/// Waits for side work: notified once, at the latest when the work can no longer run.
class Waiter {
 public:
  explicit Waiter(SideWork work) : work_(work) {}
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// Throws Error with the library's reason.
  void issue(cudaStream_t stream) const;
  void done() { tell(Status::ok, ""); }
  void fail(const std::string& why) { tell(Status::failed, why); }

 private:
  void tell(Status status, const std::string& why);

  const SideWork work_;
  bool told_ = false;
};

class SideStream {
 public:
  /// On the current device.
  SideStream();

  /// Starts work once `main` has finished everything enqueued on it so far.
  void run(cudaStream_t main, const std::shared_ptr<Waiter>& waiter);
  /// Makes work enqueued on `main` from here on wait for all side work so far. Returns once that has been issued.
  void join(cudaStream_t main);
  /// Drops work that has not started and waits for the rest.
  void close();

 private:
  explicit SideStream(int device);
  void tellAtEnd(const std::shared_ptr<Waiter>& waiter, const std::string& failure);

  cudaStream_t stream_ = nullptr;
  Worker& worker_;
  Completions completions_;
};

}  // namespace mora::cuda
