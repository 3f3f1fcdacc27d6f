// The threads that share the work of one operation.
//
// Each thread that starts jobs has its own team and is a member of it. Members first take items from their own part of
// a job, which is often still in their caches, then from the others' parts, so nobody waits for a preempted member,
// unless it is in the middle of an item. Waiting members spin for a short time, then sleep. Members keep to different
// processors and yield between items (core/system/scheduling.h).
#pragma once
#include <cstdint>

namespace mora::cpu {

/// Number of members of the calling thread's team, itself included; 1 within a job, since jobs don't nest.
int teamSize();

/// Sets the size of the calling thread's team; 0 means availableProcessors() (core/system/limits.h).
void setTeamSize(int members);

namespace detail {
using Item = void (*)(const void* body, int64_t item, int member);
void share(int64_t items, Item call, const void* body);
}  // namespace detail

/// Calls body(item, member) for each item in [0, items), fewer than 2^31, in any order and in parallel. `member` is in
/// [0, teamSize()), and concurrent calls have different ones. Rethrows the first exception when all are done.
template <typename Body>
void shareItems(int64_t items, const Body& body) {
  const auto call = [](const void* of, int64_t item, int member) { (*static_cast<const Body*>(of))(item, member); };
  detail::share(items, call, &body);
}

}  // namespace mora::cpu
