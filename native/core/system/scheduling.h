// Keeps other processes on the same processors from delaying a team. Results do not depend on it, and without such
// processes it costs next to nothing.
#pragma once
#include <bitset>
#include <cstdint>

namespace mora {

using ProcessorSet = std::bitset<1024>;

/// Number of the processor that runs the calling thread; -1 if the system does not tell it.
int currentProcessor();

/// Requests short time slices for the calling thread on a shared processor, with the same share of it. Needs Linux
/// 6.12; does nothing elsewhere.
void takeShortTurns();

/// Moves the calling thread to a processor that is not among `taken`, if it may use one; the system may move it later.
void leaveProcessors(const ProcessorSet& taken);

/// Yields the processor between two items of a job if the next item would not end before the system's next scheduling
/// decision. A preempted thread then holds no item that its team waits for.
class BetweenItems {
 public:
  BetweenItems();
  void pause();

 private:
  int64_t begin_;              // when the item started [ns]
  int64_t longest_ = 100'000;  // the longest item so far; initially an allowance for the first one [ns]
};

}  // namespace mora
