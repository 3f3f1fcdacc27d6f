// The CPU device's stream: one worker thread that runs operations in order, each shared by a team of threads
// (cpu/team.h), with memory from one reserved range of addresses.
#pragma once
#include <functional>
#include <mutex>

#include "core/arena.h"
#include "core/backend.h"
#include "core/process/worker.h"
#include "core/profile.h"
#include "core/system/memory.h"

namespace mora {

struct Stream {
 public:
  explicit Stream(int32_t threads);
  ~Stream() = delete;  // lives as long as the process: at exit `shutdown` stops it

  Status enqueue(const char* operation, std::function<void()> work, Cost cost = Cost());
  Status callback(void (*done)(void*, const StreamError*), void* user);
  uint64_t depth() { return worker_.depth(); }
  void shutdown() { worker_.close(); }
  void setThreads(int32_t threads);

  Status allocate(size_t bytes, void** data);
  void release(void* data);
  MemoryFigures memoryFigures();
  void setMemoryLimit(uint64_t bytes);
  void resetPeak();
  Status trim();

  Profile& profile() { return profile_; }

 private:
  struct Task {
    const char* operation;
    std::function<void()> work;
    Cost cost;
  };

  void execute(const Task& task);
  void remember(const char* operation, Status status, const char* message);

  Worker& worker_;

  std::mutex errorMutex_;
  StreamError error_{};

  std::mutex memoryMutex_;
  AddressRange addresses_;
  uint64_t limit_;
  Arena arena_;

  Profile profile_;
};

}  // namespace mora
