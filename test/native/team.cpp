// Teams of threads: every item is computed once, and no member has two at the same time; failures; sizes; members that
// have fallen asleep, and more members than processors; the processors that threads may use stay the same. Also under
// ThreadSanitizer.
#include "cpu/team.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "core/system/limits.h"
#include "core/system/scheduling.h"
#include "cpu/parallel.h"

using mora::cpu::parallelRanges;
using mora::cpu::setTeamSize;
using mora::cpu::shareItems;
using mora::cpu::teamSize;

namespace {

/// Runs a job whose items count their calls, and checks that each ran once and no member ran two at the same time.
void share(int64_t items) {
  std::vector<int> runs(static_cast<size_t>(items), 0);
  const int members = teamSize();
  const auto active = std::make_unique<std::atomic<int>[]>(static_cast<size_t>(members));
  std::atomic<bool> apart{true};
  shareItems(items, [&](int64_t item, int member) {
    ++runs[static_cast<size_t>(item)];
    if (member < 0 || member >= members) {
      apart = false;
    } else {
      if (active[static_cast<size_t>(member)]++ != 0) apart = false;
      --active[static_cast<size_t>(member)];
    }
  });
  CHECK(apart);
  for (const int count : runs) CHECK(count == 1);
}

void everyItemRunsOnce() {
  for (const int members : {1, 2, 3, 5, 8}) {
    setTeamSize(members);
    CHECK(teamSize() == members);
    for (const int64_t items : {0, 1, 2, 3, 7, 64, 1001}) share(items);
  }
}

void manyShortJobs() {
  setTeamSize(5);
  std::atomic<int64_t> sum{0};
  int64_t expected = 0;
  for (int64_t job = 0; job < 20'000; ++job) {
    const int64_t items = 2 + job % 9;
    // Some jobs end before a second member has come.
    shareItems(items, [&](int64_t item, int) {
      std::atomic<int64_t> turns{0};
      while (turns.fetch_add(1, std::memory_order_relaxed) < job % 5 * 100) {
      }
      sum.fetch_add(item + job, std::memory_order_relaxed);
    });
    expected += items * (items - 1) / 2 + items * job;
    CHECK(sum == expected);
  }
}

void sleepingMembersWakeUp() {
  setTeamSize(3);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    share(100);
  }
}

void nobodyWaitsForWhoIsNotThere() {
  // One member is blocked in an item: the others do the rest.
  setTeamSize(3);
  constexpr int64_t kItems = 300;
  std::atomic<int64_t> done{0};
  shareItems(kItems, [&](int64_t item, int) {
    if (item == 0)
      while (done < kItems - 1) std::this_thread::yield();
    ++done;
  });
  CHECK(done == kItems);
}

void theFirstFailureIsThrown() {
  for (const int members : {1, 4}) {
    setTeamSize(members);
    for (int round = 0; round < 50; ++round) {
      std::string message;
      try {
        shareItems(40, [](int64_t item, int) {
          if (item % 7 == 3) throw std::runtime_error("item");
        });
      } catch (const std::runtime_error& error) {
        message = error.what();
      }
      CHECK(message == "item");
      share(40);
    }
  }
}

void jobsDoNotNest() {
  setTeamSize(3);
  std::atomic<int> inner{0};
  shareItems(6, [&](int64_t, int) {
    CHECK(teamSize() == 1);
    shareItems(5, [&](int64_t, int member) {
      CHECK(member == 0);
      ++inner;
    });
  });
  CHECK(inner == 30);
  CHECK(teamSize() == 3);
}

void everyThreadHasItsOwnTeam() {
  setTeamSize(2);
  std::thread other([] {
    setTeamSize(4);
    for (int i = 0; i < 100; ++i) share(50);
  });
  for (int i = 0; i < 100; ++i) share(50);
  other.join();
  CHECK(teamSize() == 2);
  setTeamSize(0);
  CHECK(teamSize() == mora::availableProcessors());
}

/// Members leave a processor that another one is on, and may be moved back to it afterwards.
void membersMayUseAllProcessors() {
  cpu_set_t before;
  CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
  for (const int members : {2, 9}) {
    setTeamSize(members);
    std::atomic<bool> same{true};
    for (int job = 0; job < 200; ++job) {
      shareItems(members, [&](int64_t, int) {
        cpu_set_t now;
        if (sched_getaffinity(0, sizeof(now), &now) != 0 || !CPU_EQUAL(&now, &before)) same = false;
      });
    }
    CHECK(same);
  }
  setTeamSize(0);
}

void leavesAProcessor() {
  cpu_set_t before, after;
  CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
  mora::ProcessorSet all;
  for (size_t processor = 0; processor < all.size(); ++processor) {
    if (!CPU_ISSET(processor, &before)) continue;
    all.set(processor);
    mora::leaveProcessors(mora::ProcessorSet().set(processor));
  }
  mora::leaveProcessors(all);  // there is no other processor
  CHECK(sched_getaffinity(0, sizeof(after), &after) == 0);
  CHECK(CPU_EQUAL(&before, &after));
}

void rangesCoverEverything() {
  setTeamSize(3);
  for (const int64_t multiple : {1, 16}) {
    for (const int64_t count : {0, 1, 15, 16, 17, 1000, 99'991}) {
      std::vector<int> seen(static_cast<size_t>(count), 0);
      std::atomic<bool> aligned{true};
      parallelRanges(
          count, 1000,
          [&](int64_t begin, int64_t end) {
            if (begin >= end || begin % multiple != 0 || (end % multiple != 0 && end != count)) aligned = false;
            for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
          },
          multiple);
      CHECK(aligned);
      for (const int times : seen) CHECK(times == 1);
    }
  }
}

}  // namespace

int main() {
  everyItemRunsOnce();
  manyShortJobs();
  sleepingMembersWakeUp();
  nobodyWaitsForWhoIsNotThere();
  theFirstFailureIsThrown();
  jobsDoNotNest();
  everyThreadHasItsOwnTeam();
  membersMayUseAllProcessors();
  leavesAProcessor();
  rangesCoverEverything();
  return mora::test::finish();
}
