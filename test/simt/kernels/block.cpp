#include "simt/kernels/block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "simt/kernels/sanitizer.h"
#include "simt/runtime/report.h"

thread_local constinit uint3 threadIdx{};
thread_local constinit uint3 blockIdx{};
thread_local constinit dim3 blockDim{};
thread_local constinit dim3 gridDim{};

namespace simt {

thread_local constinit unsigned currentLane = 0;
char fenceTag = 0;

namespace {

constexpr unsigned kMostPendingCopies = 256;  // per thread, more than any of our kernels uses

thread_local constinit Block* currentBlock = nullptr;

bool sameSite(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

}  // namespace

Block::Block() : pendingCopies_(new PendingCopy[kThreadsPerBlock * kMostPendingCopies]) {
  // Any running thread grows it, which ThreadSanitizer would report as races.
  fibers_.reserve(kThreadsPerBlock);
  idle_.reserve(kThreadsPerBlock);
}

Block* Block::current() { return currentBlock; }

uint64_t Block::random() {
  // xorshift64*
  randomState_ ^= randomState_ >> 12;
  randomState_ ^= randomState_ << 25;
  randomState_ ^= randomState_ >> 27;
  return randomState_ * 0x2545f4914f6cdd1dull >> 32;
}

// Inlined into the meetings, see Fiber::switchTo.
#define SIMT_INLINE inline __attribute__((always_inline))

SIMT_INLINE void Block::makeReady(unsigned w, uint32_t lanes) {
  warps_[w].ready |= lanes;
  if (warps_[w].ready) readyWarps_ |= 1u << w;
}

SIMT_INLINE int Block::nextThread() {
  if (!readyWarps_) return -1;
  if (!(readyWarps_ >> warp_ & 1)) {
    const unsigned start = randomState_ ? random() % kWarp : warp_ + 1;
    const uint32_t later = start < kWarp ? readyWarps_ >> start << start : 0;
    warp_ = __builtin_ctz(later ? later : readyWarps_);
    lane_ = randomState_ ? random() % kWarp : 0;
  }
  const uint32_t ready = warps_[warp_].ready, later = ready >> lane_ << lane_;
  const unsigned lane = __builtin_ctz(later ? later : ready);
  lane_ = (lane + 1) % kWarp;
  return static_cast<int>(warp_ * kWarp + lane);
}

SIMT_INLINE Fiber& Block::fiberOf(unsigned t) {
  Fiber* fiber = threads_[t].fiber;
  return fiber ? *fiber : newFiber(t);
}

SIMT_INLINE void Block::setCurrent(unsigned t) {
  current_ = t;
  currentLane = t % kWarp;
  const dim3 threads = grid_->threads;
  threadIdx = threads.x == threadCount_ ? uint3{t, 0, 0}
                                        : uint3{t % threads.x, t / threads.x % threads.y, t / (threads.x * threads.y)};
}

/// -1: no thread can continue, which is the end or a deadlock.
SIMT_INLINE void Block::goOnWith(int next) {
  if (next < 0 && left_ > 0) reportStuck("threads wait for what cannot happen");
  Fiber& from = *running_;
  Fiber& to = next < 0 ? main_ : fiberOf(next);
  if (next >= 0) setCurrent(next);
  running_ = &to;
  if (&from != &to) from.switchTo(to);
}

SIMT_INLINE void Block::wait(const char* operation, std::source_location where) {
  Thread& thread = threads_[current_];
  thread.operation = operation;
  thread.where = where;
  goOnWith(nextThread());
  thread.operation = nullptr;
}

SIMT_INLINE bool Block::completeIfAllCame(unsigned w, unsigned m) {
  Warp& warp = warps_[w];
  const Meeting meeting = warp.meetings[m];
  if (meeting.arrived != (meeting.mask & warp.live)) return false;
  if (meeting.complete) meeting.complete(warp.operands.data(), meeting.arrived);
  warp.turns ^= 1u << __builtin_ctz(meeting.mask);
  warp.meetings[m] = warp.meetings[--warp.meetingCount];
  makeReady(w, meeting.arrived);
  return true;
}

Fiber& Block::newFiber(unsigned t) {
  Fiber*& fiber = threads_[t].fiber;
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&fiberBody, this, static_cast<unsigned>(fibers_.size())));
    fiber = fibers_.back().get();
  } else {
    fiber = idle_.back();
    idle_.pop_back();
    if (underThreadSanitizer()) fiber->restart();
  }
  return *fiber;
}

void Block::run(Grid& grid, uint3 index) {
  grid_ = &grid;
  index_ = index;
  blockIdx = index;
  blockDim = grid.threads;
  gridDim = grid.blocks;
  threadCount_ = left_ = grid.threads.x * grid.threads.y * grid.threads.z;
  warpCount_ = (threadCount_ + kWarp - 1) / kWarp;
  warp_ = lane_ = atBarrier_ = barrierTurn_ = predicates_ = readyWarps_ = 0;
  const uint64_t number = (uint64_t{index.z} * grid.blocks.y + index.y) * grid.blocks.x + index.x + 1;
  randomState_ = grid.seed ? (grid.seed * 0x9e3779b97f4a7c15ull ^ number * 0xbf58476d1ce4e5b9ull) | 1 : 0;
  for (unsigned w = 0; w < warpCount_; ++w) {
    const unsigned lanes = std::min(kWarp, threadCount_ - w * kWarp);
    warps_[w].live = lanes == kWarp ? ~0u : (1u << lanes) - 1;
    warps_[w].ready = 0;
    warps_[w].meetingCount = 0;
    warps_[w].turns = 0;
    makeReady(w, warps_[w].live);
  }
  for (unsigned t = 0; t < threadCount_; ++t) {
    threads_[t].fiber = nullptr;
    threads_[t].state = State::fresh;
    threads_[t].operation = nullptr;
    threads_[t].pendingCopies = 0;
  }
  if (underThreadSanitizer() || !tags_) tags_ = std::make_unique<Tags>();
  shared_.beginBlock(grid.dynamicBytes);
  currentBlock = this;
  running_ = &main_;
  while (left_ > 0) goOnWith(nextThread());
  currentBlock = nullptr;
}

void Block::fiberBody(void* block) { static_cast<Block*>(block)->runThreads(); }

void Block::runThreads() {
  for (;;) {
    threads_[current_].state = State::running;
    acquire(&grid_->startTag);
    grid_->thread();
    release(&grid_->endTag);
    threadReturned();
    if (underThreadSanitizer()) {
      // Each thread is a new fiber to ThreadSanitizer, so another fiber must restart this one.
      Fiber& self = *running_;
      idle_.push_back(&self);
      running_ = &main_;
      self.switchTo(main_);
    }
    const int next = nextThread();
    if (next >= 0 && !threads_[next].fiber) {
      threads_[next].fiber = running_;
      setCurrent(next);
      continue;
    }
    idle_.push_back(running_);
    goOnWith(next);
  }
}

void Block::threadReturned() {
  const unsigned w = current_ / kWarp;
  const uint32_t bit = 1u << current_ % kWarp;
  Warp& warp = warps_[w];
  threads_[current_].state = State::returned;
  --left_;
  warp.live &= ~bit;
  if (!(warp.ready &= ~bit)) readyWarps_ &= ~(1u << w);
  // The lanes of its warp no longer wait for a thread that has returned.
  for (unsigned m = 0; m < warp.meetingCount;)
    if (!completeIfAllCame(w, m)) ++m;
}

void Block::meet(uint32_t mask, void* operand, Completion complete, const char* operation, std::source_location where) {
  const unsigned w = current_ / kWarp, lane = current_ % kWarp;
  const uint32_t bit = 1u << lane;
  Warp& warp = warps_[w];
  if (!(mask & bit)) fail(where, "%s: lane %u is not in its own mask %08x", operation, lane, mask);
  unsigned m = 0;
  while (m < warp.meetingCount && !(warp.meetings[m].mask & mask)) ++m;
  if (m == warp.meetingCount) {
    warp.meetings[m] = {mask, 0, complete};
    ++warp.meetingCount;
  }
  Meeting& meeting = warp.meetings[m];
  if (meeting.mask != mask || meeting.complete != complete) {
    threads_[current_].operation = operation;
    threads_[current_].where = where;
    reportStuck("lanes of one warp meet in different operations or with different masks");
  }
  // Of all warp operations only __syncwarp, which has nothing to complete, orders memory.
  const unsigned first = static_cast<unsigned>(__builtin_ctz(mask));
  char* const tag = complete ? nullptr : &tags_->warps[w][first][warp.turns >> first & 1];
  if (tag) release(tag);
  warp.operands[lane] = operand;
  meeting.arrived |= bit;
  if (!completeIfAllCame(w, m)) {
    if (!(warp.ready &= ~bit)) readyWarps_ &= ~(1u << w);
    wait(operation, where);
  }
  if (tag) acquire(tag);
}

unsigned Block::meetAll(bool predicate, const char* operation, std::source_location where) {
  char* const tag = &tags_->barrier[barrierTurn_];
  release(tag);
  if (atBarrier_ == 0) {
    barrier_ = where;
    barrierOperation_ = operation;
  } else if (!sameSite(barrier_, where) || barrierOperation_ != operation) {
    threads_[current_].operation = operation;
    threads_[current_].where = where;
    reportStuck("threads of one block wait at different barriers");
  }
  predicates_ += predicate;
  if (++atBarrier_ == threadCount_) {
    predicatesOfLast_ = predicates_;
    atBarrier_ = predicates_ = 0;
    barrierTurn_ ^= 1;
    for (unsigned w = 0; w < warpCount_; ++w) makeReady(w, warps_[w].live);
  } else {
    Warp& warp = warps_[current_ / kWarp];
    if (!(warp.ready &= ~(1u << current_ % kWarp))) readyWarps_ &= ~(1u << current_ / kWarp);
    wait(operation, where);
  }
  acquire(tag);
  return predicatesOfLast_;
}

void Block::checkCopy(PendingCopy copy, std::source_location where) const {
  const void* const ends[] = {copy.to, copy.from};
  for (const void* const end : ends)
    if (reinterpret_cast<uintptr_t>(end) % sizeof(uint4) != 0)
      fail(where, "misaligned address %p of a copy of 16 bytes", end);
  if (!shared_.holds(ends[0], sizeof(uint4))) fail(where, "a copy to %p, which is not shared memory", ends[0]);
}

void Block::addPendingCopy(PendingCopy copy, std::source_location where) {
  unsigned& count = threads_[current_].pendingCopies;
  if (count == kMostPendingCopies) fail(where, "more than %u copies that nobody waits for", kMostPendingCopies);
  pendingCopies_[current_ * kMostPendingCopies + count++] = copy;
  forbid(copy.to, sizeof *copy.to);
}

std::span<const PendingCopy> Block::takePendingCopies() {
  const std::span copies(&pendingCopies_[current_ * kMostPendingCopies], threads_[current_].pendingCopies);
  threads_[current_].pendingCopies = 0;
  for (const PendingCopy& copy : copies) allow(copy.to, sizeof *copy.to);
  return copies;
}

std::string Block::whoRuns() const {
  char text[96];
  std::snprintf(text, sizeof text, ", block (%u, %u, %u), thread (%u, %u, %u)", index_.x, index_.y, index_.z,
                threadIdx.x, threadIdx.y, threadIdx.z);
  return nameOf(grid_->kernel) + text;
}

void Block::reportStuck(const char* headline) const {
  std::fprintf(stderr, "simt: %s, block (%u, %u, %u): %s\n", nameOf(grid_->kernel).c_str(), index_.x, index_.y,
               index_.z, headline);
  const auto alike = [&](const Thread& a, const Thread& b) {
    return a.state == b.state && a.operation == b.operation && (!a.operation || sameSite(a.where, b.where));
  };
  for (unsigned first = 0, last; first < threadCount_; first = last + 1) {
    const Thread& thread = threads_[first];
    for (last = first; last + 1 < threadCount_ && alike(thread, threads_[last + 1]);) ++last;
    if (first == last)
      std::fprintf(stderr, "  thread %u ", first);
    else
      std::fprintf(stderr, "  threads %u to %u ", first, last);
    if (thread.state == State::returned)
      std::fprintf(stderr, "returned\n");
    else if (!thread.operation)
      std::fprintf(stderr, "ran\n");
    else
      std::fprintf(stderr, "in %s at %s:%u\n", thread.operation, thread.where.file_name(),
                   static_cast<unsigned>(thread.where.line()));
  }
  std::abort();
}

void meet(uint32_t mask, void* operand, Completion complete, const char* operation, std::source_location where) {
  currentBlock->meet(mask, operand, complete, operation, where);
}

unsigned meetBlock(bool predicate, const char* operation, std::source_location where) {
  return currentBlock->meetAll(predicate, operation, where);
}

void checkCopy(PendingCopy copy, std::source_location where) { currentBlock->checkCopy(copy, where); }

void addPendingCopy(PendingCopy copy, std::source_location where) { currentBlock->addPendingCopy(copy, where); }

std::span<const PendingCopy> takePendingCopies() { return currentBlock->takePendingCopies(); }

void* sharedStorage(const void* key, size_t bytes, const char* name, std::source_location where) {
  void* place = currentBlock->shared().place(key, bytes);
  if (!place) fail(where, "no room for the shared memory of %s, %zu bytes", name, bytes);
  return place;
}

void* dynamicShared() { return currentBlock->shared().dynamic(); }

void fail(std::source_location where, const char* format, ...) {
  std::fprintf(stderr, "simt: %s:%u: ", where.file_name(), static_cast<unsigned>(where.line()));
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, " (%s)\n", currentBlock ? currentBlock->whoRuns().c_str() : "no kernel runs");
  std::abort();
}

}  // namespace simt
