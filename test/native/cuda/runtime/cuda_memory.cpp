// The CUDA backend's allocator with the emulator's memory: statistics, limits, allocation and release of segments.
#include "cuda/runtime/memory.h"

#include <cuda_runtime.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "check.h"

using mora::MemoryFigures;
using mora::cuda::Memory;
using Outcome = Memory::Outcome;

namespace {

constexpr size_t kMebi = size_t{1} << 20;

void* mustAllocate(Memory& memory, size_t bytes) {
  void* data = nullptr;
  CHECK(memory.allocate(bytes, &data) == Outcome::ok);
  CHECK(reinterpret_cast<uintptr_t>(data) % 64 == 0);
  return data;
}

void giveBack(Memory& memory) {
  for (void* segment : memory.takeUnused()) cudaFree(segment);
}

void figuresAddUp() {
  Memory memory(0, 1024 * kMebi);
  void* const first = mustAllocate(memory, 3 * kMebi);
  void* const second = mustAllocate(memory, 5 * kMebi);
  MemoryFigures figures = memory.figures();
  CHECK(figures.inUse == 8 * kMebi && figures.peak == 8 * kMebi && figures.limit == 1024 * kMebi);
  const uint64_t held = figures.inUse + figures.cached;
  memory.release(first);
  figures = memory.figures();
  CHECK(figures.inUse == 5 * kMebi && figures.peak == 8 * kMebi && figures.inUse + figures.cached == held);
  CHECK(mustAllocate(memory, 3 * kMebi) == first);  // at once: the stream keeps the order
  memory.release(first);
  memory.release(second);
  memory.resetPeak();
  CHECK(memory.figures().peak == 0);
  giveBack(memory);
  CHECK(memory.figures().cached == 0);
}

void aBlockLargerThanASegmentGetsItsOwn() {
  Memory memory(0, 1024 * kMebi);
  void* const small = mustAllocate(memory, 1);
  void* const large = mustAllocate(memory, 200 * kMebi);
  memory.release(large);
  CHECK(memory.takeUnused().size() == 1);  // the small block's segment stays
  memory.release(small);
  giveBack(memory);
}

void theLimitHolds() {
  Memory memory(0, 100 * kMebi);
  void* data = nullptr;
  CHECK(memory.allocate(101 * kMebi, &data) == Outcome::overLimit);
  CHECK(memory.allocate(SIZE_MAX, &data) == Outcome::overLimit);
  void* const most = mustAllocate(memory, 90 * kMebi);
  CHECK(memory.allocate(11 * kMebi, &data) == Outcome::overLimit);
  CHECK(memory.allocateWorking(11 * kMebi) == nullptr);
  // Segments stop growing if they would exceed the limit.
  CHECK(memory.figures().inUse + memory.figures().cached <= 100 * kMebi);
  memory.release(most);
  memory.setLimit(0);
  memory.release(mustAllocate(memory, 101 * kMebi));
  giveBack(memory);
}

void workingSpaceIsInUse() {
  Memory memory(0, 100 * kMebi);
  void* const block = mustAllocate(memory, 3 * kMebi);
  void* const space = memory.allocateWorking(7 * kMebi);
  CHECK(space != nullptr);
  MemoryFigures figures = memory.figures();
  CHECK(figures.inUse == 10 * kMebi && figures.peak == 10 * kMebi && figures.working == 7 * kMebi);
  void* data = nullptr;
  CHECK(memory.allocate(91 * kMebi, &data) == Outcome::overLimit);
  memory.releaseWorking(space, 7 * kMebi);
  figures = memory.figures();
  CHECK(figures.inUse == 3 * kMebi && figures.peak == 10 * kMebi && figures.working == 0);
  memory.release(block);
  giveBack(memory);
  CHECK(memory.figures().inUse == 0 && memory.figures().cached == 0);
}

void aDeviceThatIsFullSaysSo() {
  size_t unused = 0, total = 0;
  CHECK(cudaMemGetInfo(&unused, &total) == cudaSuccess);
  Memory memory(0, 4 * total);
  void* data = nullptr;
  CHECK(memory.allocate(2 * total, &data) == Outcome::full);
  CHECK(cudaGetLastError() == cudaSuccess);
  memory.release(mustAllocate(memory, kMebi));
  giveBack(memory);
}

void manyThreadsMayAllocate() {
  Memory memory(0, 1024 * kMebi);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 4; ++thread)
    threads.emplace_back([&memory, thread] {
      std::vector<void*> blocks;
      for (size_t i = 0; i < 200; ++i) {
        blocks.push_back(mustAllocate(memory, 64 + (i + thread) % 7 * 300000));
        if (i % 3 < 2) continue;
        memory.release(blocks.front());
        blocks.erase(blocks.begin());
      }
      for (void* block : blocks) memory.release(block);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(memory.figures().inUse == 0);
  giveBack(memory);
}

}  // namespace

int main() {
  figuresAddUp();
  aBlockLargerThanASegmentGetsItsOwn();
  theLimitHolds();
  workingSpaceIsInUse();
  aDeviceThatIsFullSaysSo();
  manyThreadsMayAllocate();
  return mora::test::finish();
}
