// A device's memory: stream-ordered blocks in segments that are kept, so that a training step requests nothing from the
// system. A released block may be handed out again at once, because its next user runs after its last; whole segments
// are returned to the system only after waiting for the stream.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/arena.h"
#include "core/backend.h"

namespace mora::cuda {

class Memory {
 public:
  /// @param limit the initial limit in bytes
  Memory(int device, uint64_t limit) : device_(device), limit_(limit) {}

  /// `full`: the limit allows the block, but the system has no memory for it.
  enum class Outcome { ok, overLimit, full };
  Outcome allocate(size_t bytes, void** data);
  /// Calls `released` with the block's bytes before anyone else can get them; it returns the number of operations
  /// issued so far, the last of which may use the block.
  void release(void* data, const std::function<uint64_t(uint64_t bytes)>& released = {});

  /// Working memory of operations and libraries, beside the blocks: null if there is none.
  void* allocateWorking(size_t bytes);
  void releaseWorking(void* data, size_t bytes);

  /// Removes and returns the segments without a live block whose last use is among the first `issued` operations; the
  /// caller frees them with cudaFree when nothing uses them.
  std::vector<void*> takeUnused(uint64_t issued = ~uint64_t{0});

  MemoryFigures figures();
  void setLimit(uint64_t bytes);
  void resetPeak();

 private:
  struct Segment {
    std::byte* base;
    uint64_t bytes;
    Arena arena;
    uint64_t lastUse = 0;  // number of operations enqueued when one of its blocks was last released
  };

  std::byte* allocateInSegments(size_t bytes);
  bool addSegment(size_t bytes);
  void* allocateFromSystem(size_t bytes);
  uint64_t held() const { return segmentBytes_ + workingBytes_; }
  uint64_t inUse() const { return blockBytes_ + workingBytes_; }
  bool fits(size_t bytes) const { return limit_ == 0 || (bytes <= limit_ && inUse() <= limit_ - bytes); }

  const int device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Segment>> segments_;
  uint64_t limit_, segmentBytes_ = 0, blockBytes_ = 0, workingBytes_ = 0, peak_ = 0;
};

}  // namespace mora::cuda
