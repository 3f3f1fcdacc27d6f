#include "cpu/scratch.h"

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

namespace mora::cpu {

/// Memory that is handed out in order, in chunks; memory in use never moves. If one chunk was too small, one of
/// sufficient size replaces all chunks when all scopes have ended.
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

  /// Called when the last scope has ended.
  void tidy() {
    if (chunks_.size() > 1) chunks_.clear();
  }

  size_t chunk = 0, used = 0;  // the next memory comes from this chunk, after its used part
  size_t live = 0;             // bytes in use by scopes
  int depth = 0;               // number of open scopes

 private:
  struct Chunk {
    hwy::AlignedFreeUniquePtr<std::byte[]> memory;
    size_t bytes;
  };

  void add(size_t bytes) {
    constexpr size_t kLeast = size_t{64} << 10;
    if (live == 0) chunks_.clear(), chunk = 0;  // too small and unused
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
  // Memory that an outer scope takes while an inner one is open would be freed with the inner one.
  if (arena_.depth != depth_) throw std::logic_error("scratch: memory was asked of a scope that is not the innermost");
  return arena_.take(count);
}

}  // namespace mora::cpu
