#include "core/process/worker.h"

#include <thread>
#include <utility>

namespace mora {

Worker::Worker() {
  std::thread([this] { run(); }).detach();
}

bool Worker::enqueue(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

uint64_t Worker::depth() {
  const std::lock_guard lock(mutex_);
  return queue_.size() + (busy_ ? 1 : 0);
}

void Worker::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  queue_.clear();
  idle_.wait(lock, [this] { return !busy_; });
}

void Worker::run() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      busy_ = false;
      idle_.notify_all();
      wake_.wait(lock, [this] { return !queue_.empty(); });
      task = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
    task();
  }
}

}  // namespace mora
