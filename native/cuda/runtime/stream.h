// A CUDA device's stream: a host thread issues operations in order (so that JavaScript never waits for a full launch
// queue, a copy or a file), the device runs them, and another thread notifies waiters.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/process/worker.h"
#include "core/profile.h"
#include "cuda/products/products.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/scratch.h"
#include "cuda/runtime/side_stream.h"

namespace mora {

struct Stream {
 public:
  using Work = std::function<void(cuda::Context&)>;

  /// Throws Error, DeviceLost or std::bad_alloc if the device has no memory or doesn't answer.
  explicit Stream(int device);
  ~Stream() = delete;  // lives as long as the process: at exit `shutdown` stops it

  Status enqueue(const char* operation, Work work, Cost cost = Cost());
  Status beside(SideWork work);
  Status join();
  Status callback(void (*done)(void*, const StreamError*), void* user);
  uint64_t depth() { return worker_.depth() + issued_ - finished_; }
  /// Why the device is lost; status ok otherwise.
  StreamError failure();
  void shutdown();

  Status allocate(size_t bytes, void** data);
  void release(void* data);
  Status trim();
  cuda::Memory& memory() { return memory_; }
  Profile& profile() { return profile_; }

 private:
  struct Task {
    const char* operation;
    Work work;
    Cost cost;
  };

  void run(const Task& task);
  void runTimed(const Task& task);
  void addPairs(const std::shared_ptr<Cost>& cost);
  /// Runs `body` and records its exception.
  template <typename Body>
  void guarded(const char* operation, Body&& body);
  void remember(const char* operation, Status status, std::string message);
  /// Stops issuing operations; everybody who waits or enqueues gets the reason.
  void lose(const char* operation, const cuda::DeviceLost& lost);
  void mark();
  void deliver(void (*done)(void*, const StreamError*), void* user);
  Work freeing(std::vector<void*> segments);
  StreamError takeError();

  Worker& worker_;
  cuda::Memory memory_;
  cuda::Staging staging_;
  cuda::Completions completions_;
  cuda::Context::Memory scratch_;
  std::optional<cuda::Products> products_;
  cuda::Context context_{};
  std::optional<cuda::SideStream> side_;  // from its first use on
  Profile profile_;

  std::atomic<uint64_t> enqueued_ = 0, issued_ = 0, finished_ = 0;
  std::atomic<bool> lost_ = false;  // failure_ says why
  std::mutex errorMutex_;
  StreamError error_{}, failure_{};
};

}  // namespace mora
