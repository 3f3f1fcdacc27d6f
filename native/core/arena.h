// Best-fit allocator over one contiguous range of addresses. Neighbouring free blocks are joined, so the varying
// shapes of packed batches don't leave memory in pieces. It hands out offsets and touches no memory itself, so that
// every backend can use it. Not thread-safe: the owner locks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace mora {

class Arena {
 public:
  static constexpr uint64_t kAlignment = 64;
  static constexpr uint64_t kNone = ~uint64_t{0};

  explicit Arena(uint64_t capacity);

  /// Offset of a block of at least `bytes`, or kNone when no free block is large enough.
  uint64_t allocate(uint64_t bytes);
  void release(uint64_t offset);

  /// Returns the free ranges {offset, bytes} below the highest block ever used, and counts them as returned to the
  /// system.
  std::vector<std::pair<uint64_t, uint64_t>> takeCached();

  uint64_t inUse() const { return inUse_; }
  uint64_t peak() const { return peak_; }
  uint64_t cached() const { return highWater_ - inUse_ - returnedBytes_; }
  void resetPeak() { peak_ = inUse_; }

 private:
  void addFree(uint64_t offset, uint64_t bytes);
  void removeFree(std::map<uint64_t, uint64_t>::iterator block);
  void takeBack(uint64_t from, uint64_t to);

  std::map<uint64_t, uint64_t> used_, free_;            // offset -> bytes
  std::set<std::pair<uint64_t, uint64_t>> freeBySize_;  // {bytes, offset}: the smallest that fits, lowest first
  std::map<uint64_t, uint64_t> returned_;               // offset -> end, below highWater_ and not used since
  uint64_t inUse_ = 0, peak_ = 0, highWater_ = 0, returnedBytes_ = 0;
};

}  // namespace mora
