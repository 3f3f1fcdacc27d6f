// A thread that runs tasks in order: a backend's stream.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace mora {

class Worker {
 public:
  using Task = std::function<void()>;

  Worker();
  ~Worker() = delete;  // lives as long as the process: `close` stops it

  /// Returns false if it is closed. A task must not throw.
  bool enqueue(Task task);
  /// Number of waiting and running tasks.
  uint64_t depth();
  /// Drops waiting tasks, waits for the running one, and refuses more. Must not be called by a task.
  void close();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Task> queue_;
  bool busy_ = false, closed_ = false;
};

}  // namespace mora
