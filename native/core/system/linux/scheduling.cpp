#include "core/system/scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace mora {
namespace {

/// The start of Linux's `struct sched_attr`, which older C libraries lack.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes), policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;  // nanoseconds
};

int64_t nanoseconds(const timespec& time) { return int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec; }

int64_t timeOf(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return nanoseconds(time);
}

int64_t tickLength() {
  timespec length{};
  clock_getres(CLOCK_MONOTONIC_COARSE, &length);
  return nanoseconds(length);
}

}  // namespace

void takeShortTurns() {
  SchedulingAttributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  if (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH) return;
  attributes.runtime = 100'000;  // the minimum
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

int currentProcessor() { return sched_getcpu(); }

void leaveProcessors(const ProcessorSet& taken) {
  cpu_set_t allowed, free;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  CPU_ZERO(&free);
  for (size_t processor = 0; processor < taken.size(); ++processor)
    if (CPU_ISSET(processor, &allowed) && !taken[processor]) CPU_SET(processor, &free);
  if (CPU_COUNT(&free) == 0 || sched_setaffinity(0, sizeof(free), &free) != 0) return;
  sched_setaffinity(0, sizeof(allowed), &allowed);
}

BetweenItems::BetweenItems() : begin_(timeOf(CLOCK_MONOTONIC)) {}

void BetweenItems::pause() {
  // Time slices end at ticks of the system's timer, at which the coarse clock is updated.
  static const int64_t tick = tickLength();
  const int64_t now = timeOf(CLOCK_MONOTONIC);
  longest_ = std::max(longest_, now - begin_);
  begin_ = now;
  if (longest_ > tick / 2) return;
  const int64_t left = timeOf(CLOCK_MONOTONIC_COARSE) + tick - now;
  if (left <= 0 || left > longest_ + longest_ / 4) return;
  sched_yield();
  begin_ = timeOf(CLOCK_MONOTONIC);
}

}  // namespace mora
