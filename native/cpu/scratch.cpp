#include "cpu/scratch.h"

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

namespace mora::cpu {

/// Memory that is handed out from one end to the other, in chunks: memory that is in use never moves. Where one chunk
/// did not do, one that does takes their place when all scopes have ended.
class ScratchArena {
 public:
  static ScratchArena& ofThisThread() {
    thread_local ScratchArena arena;
    return arena;
  }

  void* take(size_t bytes) {
    bytes = (bytes + Scratch::kAlignment - 1) / Scratch::kAlignment * Scratch::kAlignment;
    while (chunk < chunks_.size() && bytes > chunks_[chunk].bytes - used) ++chunk, used = 0;
    if (chunk == chunks_.size()) add(bytes);
    void* const data = chunks_[chunk].memory.get() + used;
    used += bytes;
    live += bytes;
    most_ = std::max(most_, live);
    return data;
  }

  /// When the last scope has ended.
  void tidy() {
    if (chunks_.size() > 1) chunks_.clear();
  }

  size_t chunk = 0, used = 0;  // what comes next lies in this chunk, after what is used of it
  size_t live = 0;             // bytes that scopes hold
  int depth = 0;               // scopes

 private:
  struct Chunk {
    hwy::AlignedFreeUniquePtr<std::byte[]> memory;
    size_t bytes;
  };

  void add(size_t bytes) {
    constexpr size_t kLeast = size_t{64} << 10;
    if (live == 0) chunks_.clear(), chunk = 0;  // too small, and nothing is in them
    const size_t size = chunks_.empty() ? std::max({bytes, most_, kLeast}) : std::max(bytes, kLeast);
    Chunk fresh{hwy::AllocateAligned<std::byte>(size), size};
    if (!fresh.memory) throw std::bad_alloc();
    chunks_.push_back(std::move(fresh));
  }

  std::vector<Chunk> chunks_;
  size_t most_ = 0;  // the highest `live`
};

Scratch::Scratch()
    : arena_(ScratchArena::ofThisThread()),
      chunk_(arena_.chunk),
      used_(arena_.used),
      live_(arena_.live),
      depth_(++arena_.depth) {}

Scratch::~Scratch() {
  arena_.chunk = chunk_;
  arena_.used = used_;
  arena_.live = live_;
  if (--arena_.depth == 0) arena_.tidy();
}

void* Scratch::bytes(size_t count) {
  // Memory taken from under an inner scope would end with that.
  if (arena_.depth != depth_) throw std::logic_error("scratch: memory was asked of a scope that is not the innermost");
  return arena_.take(count);
}

}  // namespace mora::cpu
