// One thread that runs tasks in order: what a backend issues or does its work on.
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

  /// False when it is closed. A task must not throw.
  bool enqueue(Task task);
  /// Tasks that wait or run.
  uint64_t depth();
  /// Drops what has not started, waits for what has, and takes no more. Not from a task.
  void close();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Task> queue_;
  bool busy_ = false, closed_ = false;
};

}  // namespace mora
