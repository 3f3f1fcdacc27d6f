#include "cpu/stream.h"

#include <chrono>
#include <cstdio>
#include <new>
#include <stdexcept>

#include "core/error.h"
#include "core/system/limits.h"
#include "core/system/memory.h"
#include "cpu/team.h"

namespace mora {

Stream::Stream(int32_t threads)
    : worker_(*new Worker),
      addresses_(2 * availableMemory()),
      limit_(availableMemory()),
      arena_(addresses_.bytes()) {
  keepTrimming();
  setThreads(threads);
}

void Stream::setThreads(int32_t threads) {
  enqueue("setThreads", [threads] { cpu::setTeamSize(threads); });
}

Status Stream::enqueue(const char* operation, std::function<void()> work, Cost cost) {
  const bool taken =
      worker_.enqueue([this, task = Task{operation, std::move(work), std::move(cost)}] { execute(task); });
  return taken ? Status::ok : Status::failed;
}

Status Stream::callback(void (*done)(void*, const StreamError*), void* user) {
  return enqueue("callback", [this, done, user] {
    StreamError error{};
    {
      const std::lock_guard lock(errorMutex_);
      std::swap(error, error_);
    }
    done(user, &error);
  });
}

void Stream::execute(const Task& task) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  try {
    task.work();
  } catch (const std::bad_alloc&) {
    remember(task.operation, Status::outOfMemory, "the system has no memory left for working space");
  } catch (const Unsupported& refusal) {
    remember(task.operation, Status::unsupported, refusal.what());
  } catch (const std::exception& failure) {
    remember(task.operation, Status::failed, failure.what());
  }
  if (!profile_.on()) return;
  Cost cost = task.cost;
  if (cost.pairs)
    cost.flops += cost.pairs->flopsPerPair * causalPairs(static_cast<const int32_t*>(cost.pairs->queryOffsets.data),
                                                         static_cast<const int32_t*>(cost.pairs->keyOffsets.data),
                                                         cost.pairs->count(), cost.pairs->window);
  profile_.add(task.operation, cost, std::chrono::duration<double>(Clock::now() - start).count());
}

// The first error is the cause; what follows it is usually its consequence.
void Stream::remember(const char* operation, Status status, const char* message) {
  const std::lock_guard lock(errorMutex_);
  if (error_.status != Status::ok) return;
  error_.status = status;
  std::snprintf(error_.operation, sizeof error_.operation, "%s", operation);
  std::snprintf(error_.message, sizeof error_.message, "%s", message);
}

Status Stream::allocate(size_t bytes, void** data) {
  const std::lock_guard lock(memoryMutex_);
  if (limit_ > 0 && (bytes > limit_ || arena_.inUse() > limit_ - bytes)) return Status::outOfMemory;
  const uint64_t offset = arena_.allocate(bytes);
  if (offset == Arena::kNone) return Status::outOfMemory;
  if (!addresses_.use(offset + bytes)) {
    arena_.release(offset);
    return Status::outOfMemory;
  }
  *data = addresses_.data() + offset;
  return Status::ok;
}

void Stream::release(void* data) {
  const std::lock_guard lock(memoryMutex_);
  arena_.release(static_cast<uint64_t>(static_cast<std::byte*>(data) - addresses_.data()));
}

MemoryFigures Stream::memoryFigures() {
  const std::lock_guard lock(memoryMutex_);
  return {arena_.inUse(), arena_.peak(), arena_.cached(), limit_, 0};
}

void Stream::setMemoryLimit(uint64_t bytes) {
  const std::lock_guard lock(memoryMutex_);
  limit_ = bytes;
}

void Stream::resetPeak() {
  const std::lock_guard lock(memoryMutex_);
  arena_.resetPeak();
}

// In stream order: operations that later allocate from these ranges write to them later. Memory that the rest of the
// process has freed is returned too: the C library keeps most of it, a large part of what reading a model took.
Status Stream::trim() {
  const std::lock_guard lock(memoryMutex_);
  return enqueue("trim", [this, ranges = arena_.takeCached()] {
    for (const auto& [offset, bytes] : ranges) addresses_.release(offset, bytes);
    trimHeap();
  });
}

}  // namespace mora
