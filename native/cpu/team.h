// The threads that share the work of one operation.
//
// Each thread that starts jobs has a team of its own and takes part in it. Members take items from their own part of a
// job first, which keeps what they wrote before in their caches, then from the others': nobody waits for a member that
// the system has set aside, unless that one is in the middle of an item. Who waits spins for a short time only, then
// sleeps. Members keep to different processors and rest between items (scheduling.h).
#pragma once
#include <cstdint>

namespace mora::cpu {

/// Members of the calling thread's team, itself included. 1 within a job: jobs don't nest.
int teamSize();

/// For the calling thread's team; 0 is availableProcessors() (core/process/process_limits.h).
void setTeamSize(int members);

namespace detail {
using Item = void (*)(const void* body, int64_t item, int member);
void share(int64_t items, Item call, const void* body);
}  // namespace detail

/// Calls body(item, member) for each item in [0, items), fewer than 2^31, in any order and at the same time; `member`
/// is in [0, teamSize()) and no two calls at once have the same. The first exception is thrown again when all are done.
template <typename Body>
void shareItems(int64_t items, const Body& body) {
  const auto call = [](const void* of, int64_t item, int member) { (*static_cast<const Body*>(of))(item, member); };
  detail::share(items, call, &body);
}

}  // namespace mora::cpu
