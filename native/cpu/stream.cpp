#include "cpu/stream.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>

#include "core/error.h"
#include "core/process/process_limits.h"
#include "cpu/team.h"

namespace mora {
namespace {

// Reserved addresses cost nothing until they are used; less is reserved if the system allows less. If the process is
// limited (ulimit -v), half is left to the rest of it.
std::byte* reserve(uint64_t& capacity) {
  uint64_t most = 2 * availableMemory();
  rlimit addresses{};
  if (getrlimit(RLIMIT_AS, &addresses) == 0) most = std::min<uint64_t>(most, addresses.rlim_cur / 2);
  for (capacity = most; capacity >= (uint64_t{1} << 24); capacity /= 2) {
    void* base = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) continue;
#ifdef MADV_HUGEPAGE
    madvise(base, capacity, MADV_HUGEPAGE);
#endif
    return static_cast<std::byte*>(base);
  }
  throw std::bad_alloc();
}

// glibc returns freed memory to the system from 128 KiB on, until a large block is freed; then from twice its size.
// Without this, up to 8 MiB that oneDNN frees while making its primitives would stay in the process.
void keepTrimming() {
#ifdef __GLIBC__
  static const bool kept [[maybe_unused]] = mallopt(M_TRIM_THRESHOLD, 128 << 10) == 1;
#endif
}

}  // namespace

Stream::Stream(int32_t threads)
    : worker_(*new Worker), base_(reserve(capacity_)), limit_(availableMemory()), arena_(capacity_) {
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
  *data = base_ + offset;
  return Status::ok;
}

void Stream::release(void* data) {
  const std::lock_guard lock(memoryMutex_);
  arena_.release(static_cast<uint64_t>(static_cast<std::byte*>(data) - base_));
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
// process has freed is returned too: glibc keeps most of it, a large part of what reading a model took.
Status Stream::trim() {
  const std::lock_guard lock(memoryMutex_);
  return enqueue("trim", [this, ranges = arena_.takeCached()] {
    const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    for (const auto& [offset, bytes] : ranges) {
      const uint64_t from = (offset + page - 1) / page * page, to = (offset + bytes) / page * page;
      if (to > from) madvise(base_ + from, to - from, MADV_DONTNEED);
    }
#ifdef __GLIBC__
    malloc_trim(0);
#endif
  });
}

}  // namespace mora
