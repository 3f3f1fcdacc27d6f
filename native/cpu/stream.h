// The CPU device's stream: one worker thread that runs operations in order, each with an OpenMP team inside, over
// memory from one reserved range of addresses.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "core/arena.h"
#include "core/backend.h"

namespace mora {

/// What the profile says of an operation.
struct Cost {
  double flops = 0, bytes = 0;
  std::string label;
  std::function<double()> flopsOnceRun;  // added to flops; of what only the tensors' values tell
};

struct Stream {
 public:
  explicit Stream(int32_t threads);
  ~Stream() = delete;  // lives as long as the process: at exit `shutdown` stops it

  Status enqueue(const char* operation, std::function<void()> work, Cost cost = Cost());
  Status callback(void (*done)(void*, const StreamError*), void* user);
  uint64_t depth();
  void shutdown();
  void setThreads(int32_t threads);

  Status allocate(size_t bytes, void** data);
  void release(void* data);
  MemoryFigures memoryFigures();
  void setMemoryLimit(uint64_t bytes);
  void resetPeak();
  Status trim();

  void profile(bool on);
  bool profiling();
  std::string profileReport();

 private:
  struct Task {
    const char* operation;
    std::function<void()> work;
    Cost cost;
  };
  struct Measured {
    uint64_t calls = 0;
    double seconds = 0, flops = 0, bytes = 0;
  };

  void run();
  void execute(Task& task);
  void remember(const char* operation, Status status, const char* message);

  std::mutex queueMutex_;
  std::condition_variable wake_, idle_;
  std::deque<Task> queue_;
  bool busy_ = false, closed_ = false;
  StreamError error_{};

  std::mutex memoryMutex_;
  std::byte* base_;
  uint64_t capacity_, limit_;
  Arena arena_;

  std::mutex profileMutex_;
  bool profiling_ = false;
  std::map<std::pair<std::string, std::string>, Measured> measured_;
  std::thread worker_;
};

}  // namespace mora
