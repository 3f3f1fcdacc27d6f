// A device's memory: blocks in stream order from segments that are kept, so that a training step asks the system for
// nothing. A released block may be handed out again at once, because whatever uses it next runs after whatever used it
// before; whole segments go back to the system only once the stream has been waited for.
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
  /// `limit`: bytes, the first one.
  Memory(int device, uint64_t limit) : device_(device), limit_(limit) {}

  /// `full`: the limit allows the block, but the system has no memory for it.
  enum class Outcome { ok, overLimit, full };
  Outcome allocate(size_t bytes, void** data);
  /// `released` gets the block's bytes before anybody else can have them, and tells how many operations the stream was
  /// given by then: the last of them may use the block.
  void release(void* data, const std::function<uint64_t(uint64_t bytes)>& released = {});

  /// Working space of operations and libraries, beside the blocks: null when there is none.
  void* allocateWorking(size_t bytes);
  void releaseWorking(void* data, size_t bytes);

  /// Takes the segments without a live block out of which none was used after the first `issued` operations; the caller
  /// frees them with cudaFree when nothing works on them.
  std::vector<void*> takeUnused(uint64_t issued = ~uint64_t{0});

  MemoryFigures figures();
  void setLimit(uint64_t bytes);
  void resetPeak();

 private:
  struct Segment {
    std::byte* base;
    uint64_t bytes;
    Arena arena;
    uint64_t lastUse = 0;  // operations that were enqueued when a block of it was released last
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
