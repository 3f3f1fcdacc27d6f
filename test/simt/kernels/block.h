// Runs the threads of one block on fibers, in one OS thread.
//
// A thread runs until it waits at a barrier or warp operation; then the next thread that can continue does. A thread
// that returns without having waited leaves its fiber to the next one, so a kernel that never waits costs a call per
// thread. Warps run as far as they can, one after another; with a seed the order of warps and lanes is random.
//
// If no thread can continue but some have not returned, the block is deadlocked: prints what each thread waits for.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "simt/kernels/copies.h"
#include "simt/kernels/fiber.h"
#include "simt/kernels/kernel_thread.h"
#include "simt/kernels/sanitizer.h"
#include "simt/kernels/shared_memory.h"

namespace simt {

constexpr unsigned kWarp = 32, kThreadsPerBlock = 1024, kWarpsPerBlock = kThreadsPerBlock / kWarp;

/// One launch: the code of its threads, and its dimensions.
struct Grid {
  const void* kernel;
  dim3 blocks, threads;
  size_t dynamicBytes;
  std::function<void()> thread;
  uint64_t seed;  // 0: everything in order
  char startTag = 0, endTag = 0;
  /// The last holder's destruction comes after its threads: ThreadSanitizer does not see the reference count.
  ~Grid() { acquire(&endTag); }
};

class Block {
 public:
  Block();
  void run(Grid& grid, uint3 index);

  void meet(uint32_t mask, void* operand, Completion complete, const char* operation, std::source_location where);
  unsigned meetAll(bool predicate, const char* operation, std::source_location where);
  void checkCopy(PendingCopy copy, std::source_location where) const;
  void addPendingCopy(PendingCopy copy, std::source_location where);
  std::span<const PendingCopy> takePendingCopies();
  SharedMemory& shared() { return shared_; }
  /// The block that the calling OS thread runs, or null.
  static Block* current();
  /// "kernel, block (x, y, z), thread (x, y, z)"
  std::string whoRuns() const;

 private:
  enum class State : uint8_t { fresh, running, returned };
  struct Thread {
    Fiber* fiber = nullptr;
    State state = State::fresh;
    const char* operation = nullptr;  // null: not waiting
    std::source_location where;
    unsigned pendingCopies = 0;
  };
  /// Lanes that wait for each other.
  struct Meeting {
    uint32_t mask, arrived;
    Completion complete;
  };
  struct Warp {
    uint32_t live, ready;
    std::array<Meeting, kWarp> meetings;
    unsigned meetingCount;
    uint32_t turns;  // a bit for the first lane of each mask: which of its tags is next
    std::array<void*, kWarp> operands;
  };
  /// The objects to which ThreadSanitizer's happens-before is tied; new for every block. Each barrier has two that
  /// alternate: early threads may reach the next barrier while others have not left this one, and must not seem to
  /// precede them.
  struct Tags {
    char barrier[2] = {};
    char warps[kWarpsPerBlock][kWarp][2] = {};
  };

  static void fiberBody(void* block);
  void runThreads();
  void threadReturned();
  int nextThread();
  Fiber& fiberOf(unsigned thread);
  Fiber& newFiber(unsigned thread);
  void setCurrent(unsigned thread);
  void goOnWith(int thread);
  void wait(const char* operation, std::source_location where);
  void makeReady(unsigned warp, uint32_t lanes);
  bool completeIfAllCame(unsigned warp, unsigned meeting);
  [[noreturn]] void reportStuck(const char* headline) const;
  uint64_t random();

  Fiber main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber* running_ = nullptr;
  SharedMemory shared_;
  std::unique_ptr<Tags> tags_;
  std::unique_ptr<PendingCopy[]> pendingCopies_;  // kMostPendingCopies of each thread

  Grid* grid_ = nullptr;
  uint3 index_{};
  unsigned threadCount_ = 0, warpCount_ = 0, left_ = 0, current_ = 0;
  uint32_t readyWarps_ = 0;
  unsigned warp_ = 0, lane_ = 0;  // where the search for the next thread continues
  unsigned atBarrier_ = 0, barrierTurn_ = 0, predicates_ = 0, predicatesOfLast_ = 0;
  std::source_location barrier_;
  const char* barrierOperation_ = nullptr;
  uint64_t randomState_ = 0;
  std::array<Thread, kThreadsPerBlock> threads_;
  std::array<Warp, kWarpsPerBlock> warps_;
};

}  // namespace simt
