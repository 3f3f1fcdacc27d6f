#include "cpu/team.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/system/limits.h"
#include "core/system/scheduling.h"

namespace mora::cpu {
namespace {

// Longer than the time between two operations of a step, far shorter than a scheduler's time slice.
constexpr std::chrono::microseconds kSpin{50};

/// Waits until `value` is no longer `seen`.
void waitWhile(const std::atomic<uint32_t>& value, uint32_t seen) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (value.load(std::memory_order_acquire) != seen) return;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  value.wait(seen, std::memory_order_acquire);
}

thread_local bool insideJob = false;

class Team {
 public:
  ~Team() { stop(); }

  int size() const { return static_cast<int>(parts_.size()); }

  void resize(int members) {
    if (members == size()) return;
    stop();
    parts_ = std::vector<Part>(static_cast<size_t>(members));
  }

  void share(int64_t items, detail::Item call, const void* body) {
    if (threads_.empty()) start();
    call_.store(call, std::memory_order_relaxed);
    body_.store(body, std::memory_order_relaxed);
    unfinished_.store(static_cast<uint32_t>(items), std::memory_order_relaxed);
    const uint32_t job = number_.load(std::memory_order_relaxed) + 1;
    for (int member = 0; member < size(); ++member) {
      Part& part = parts_[static_cast<size_t>(member)];
      const int64_t begin = items * member / size(), end = items * (member + 1) / size();
      part.end.store(end, std::memory_order_relaxed);
      part.left.store(uint64_t{job} << 32 | static_cast<uint64_t>(end - begin), std::memory_order_release);
    }
    number_.store(job, std::memory_order_release);
    number_.notify_all();

    insideJob = true;
    takeItems(0);
    insideJob = false;
    for (uint32_t left; (left = unfinished_.load(std::memory_order_acquire)) > 0;) waitWhile(unfinished_, left);
    if (failed_.exchange(false, std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  /// A member's share of the items: those before `end` that are not yet taken. The upper half of `left` is the job's
  /// number, so that a late member cannot take an item of a later job with a value read during an earlier one.
  struct alignas(64) Part {
    std::atomic<uint64_t> left{0};
    std::atomic<int64_t> end{0};
    std::atomic<int> processor{-1};  // on which the member last started
  };

  void work(int member) {
    takeShortTurns();
    insideJob = true;
    for (uint32_t seen = 0;;) {
      waitWhile(number_, seen);
      seen = number_.load(std::memory_order_acquire);
      if (stopping_.load(std::memory_order_relaxed)) return;
      takeItems(member);
    }
  }

  /// Keeps members on separate processors: if others use these too, the system may put two members on one of them and
  /// none on another.
  void keepApart(int member) {
    const int processor = currentProcessor();
    parts_[static_cast<size_t>(member)].processor.store(processor, std::memory_order_relaxed);
    if (member == 0 || processor < 0) return;
    ProcessorSet taken;
    for (int i = 0; i < size(); ++i) {
      const int other = parts_[static_cast<size_t>(i)].processor.load(std::memory_order_relaxed);
      if (i != member && other >= 0 && static_cast<size_t>(other) < taken.size()) taken.set(static_cast<size_t>(other));
    }
    if (static_cast<size_t>(processor) < taken.size() && taken[static_cast<size_t>(processor)]) leaveProcessors(taken);
  }

  void takeItems(int member) {
    keepApart(member);
    BetweenItems between;
    for (int i = 0; i < size(); ++i) {
      Part& part = parts_[static_cast<size_t>((member + i) % size())];
      uint64_t left = part.left.load(std::memory_order_acquire);
      while (static_cast<uint32_t>(left) > 0) {
        // The items belong to the job of `left` if it has not changed until the exchange: a job is set up only when no
        // items are left.
        const detail::Item call = call_.load(std::memory_order_relaxed);
        const void* const body = body_.load(std::memory_order_relaxed);
        const int64_t item = part.end.load(std::memory_order_relaxed) - static_cast<uint32_t>(left);
        if (!part.left.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_acquire))
          continue;
        runItem(call, body, item, member);
        between.pause();
        left = part.left.load(std::memory_order_acquire);
      }
    }
  }

  void runItem(detail::Item call, const void* body, int64_t item, int member) {
    try {
      call(body, item, member);
    } catch (...) {
      const std::lock_guard lock(failureMutex_);
      if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
    }
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }

  void start() {
    takeShortTurns();
    try {
      for (int member = 1; member < size(); ++member) threads_.emplace_back([this, member] { work(member); });
    } catch (const std::system_error&) {
      // The system refuses more threads: the existing ones do the others' parts.
    }
  }

  void stop() {
    stopping_.store(true, std::memory_order_relaxed);
    number_.fetch_add(1, std::memory_order_release);
    number_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    stopping_.store(false, std::memory_order_relaxed);
    number_.store(0, std::memory_order_relaxed);
  }

  std::vector<Part> parts_;
  std::vector<std::thread> threads_;  // of all members except the first

  std::atomic<detail::Item> call_{nullptr};
  std::atomic<const void*> body_{nullptr};
  alignas(64) std::atomic<uint32_t> number_{0};  // the job's number
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // unfinished items

  std::mutex failureMutex_;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
};

/// The team's threads start with its first job.
Team& ownTeam() {
  thread_local Team team;
  if (team.size() == 0) team.resize(availableProcessors());
  return team;
}

}  // namespace

int teamSize() { return insideJob ? 1 : ownTeam().size(); }

void setTeamSize(int members) { ownTeam().resize(members > 0 ? members : availableProcessors()); }

void detail::share(int64_t items, Item call, const void* body) {
  if (items <= 1 || teamSize() == 1) {
    for (int64_t item = 0; item < items; ++item) call(body, item, 0);
  } else {
    ownTeam().share(items, call, body);
  }
}

}  // namespace mora::cpu
