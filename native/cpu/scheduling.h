// What a member of a team does so that others who use the same processors do not hold the team up. None of it is needed
// for right results, and all of it costs next to nothing where nobody else is there.
#pragma once
#include <sched.h>

#include <cstdint>

namespace mora::cpu {

/// Asks for short turns of the calling thread on a processor that others use too, at the same share of it. Only Linux
/// 6.12 and newer know how; others leave things as they are.
void takeShortTurns();

/// Moves the calling thread to a processor that is not among `taken`, if it may use one, and lets it go wherever it may
/// afterwards.
void leaveProcessors(const cpu_set_t& taken);

/// Between two items of a job, lets others have the processor if the next item would not end before the system looks
/// who is next: a thread that is set aside then holds no item that its team waits for.
class BetweenItems {
 public:
  BetweenItems();
  void pause();

 private:
  int64_t begin_;              // of the item [ns]
  int64_t longest_ = 100'000;  // of the items so far, or what the first may take [ns]
};

}  // namespace mora::cpu
