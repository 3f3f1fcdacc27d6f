// The CPU's stream: order, errors, memory, and shutdown with waiting work. Also under ThreadSanitizer.
#include "cpu/stream.h"

#include <atomic>
#include <cstring>
#include <future>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"
#include "wait.h"

using mora::Status;
using mora::Stream;
using mora::StreamError;
using mora::test::wait;

namespace {

/// Streams live as long as the process.
Stream& newStream() {
  static auto* const streams = new std::vector<Stream*>;
  streams->push_back(new Stream(1));
  return *streams->back();
}

/// A task that holds the stream until `open`.
class Gate {
 public:
  explicit Gate(Stream& stream) {
    stream.enqueue("gate", [reached = reached_, opened = opened_.get_future().share()] {
      reached->set_value();
      opened.wait();
    });
    reached_->get_future().wait();
  }
  void open() { opened_.set_value(); }

 private:
  std::shared_ptr<std::promise<void>> reached_ = std::make_shared<std::promise<void>>();
  std::promise<void> opened_;
};

void workRunsInOrder() {
  Stream& stream = newStream();
  std::vector<int> seen;
  for (int i = 0; i < 1000; ++i) stream.enqueue("append", [&seen, i] { seen.push_back(i); });
  CHECK(wait(stream).status == Status::ok);
  CHECK(seen.size() == 1000);
  for (int i = 0; i < 1000; ++i) CHECK(seen[static_cast<size_t>(i)] == i);
  CHECK(wait(stream).status == Status::ok);
}

void manyThreadsMayEnqueue() {
  constexpr int kThreads = 8, kEach = 500;
  Stream& stream = newStream();
  std::vector<std::pair<int, int>> seen;  // written by the stream only
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&stream, &seen, thread] {
      for (int i = 0; i < kEach; ++i) {
        stream.enqueue("append", [&seen, thread, i] { seen.emplace_back(thread, i); });
        stream.depth();
        if (i % 100 == 0) wait(stream);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wait(stream).status == Status::ok);
  CHECK(seen.size() == kThreads * kEach);
  std::vector<int> next(kThreads);
  for (const auto& [thread, i] : seen) CHECK(next[static_cast<size_t>(thread)]++ == i);
}

void depthCountsWhatIsNotFinished() {
  Stream& stream = newStream();
  CHECK(wait(stream).status == Status::ok);
  Gate gate(stream);
  for (int i = 0; i < 5; ++i) stream.enqueue("nothing", [] {});
  CHECK(stream.depth() == 6);
  gate.open();
  wait(stream);
  std::thread([&stream] {
    while (stream.depth() > 0) std::this_thread::yield();
  }).join();
}

void errorsSurfaceAtTheNextCallback() {
  Stream& stream = newStream();
  bool after = false;
  stream.enqueue("rope", [] { throw std::out_of_range("position 9 is past 8"); });
  stream.enqueue("swiglu", [] { throw std::runtime_error("a consequence"); });
  stream.enqueue("copy", [&after] { after = true; });
  const StreamError error = wait(stream);
  CHECK(error.status == Status::failed);
  CHECK(std::strcmp(error.operation, "rope") == 0);
  CHECK(std::strcmp(error.message, "position 9 is past 8") == 0);
  CHECK(after);
  CHECK(wait(stream).status == Status::ok);  // the error was cleared

  stream.enqueue("matmul", [] { throw std::bad_alloc(); });
  const StreamError memory = wait(stream);
  CHECK(memory.status == Status::outOfMemory);
  CHECK(std::strcmp(memory.operation, "matmul") == 0);

  stream.enqueue("long", [] { throw std::runtime_error(std::string(2000, 'x')); });
  CHECK(std::strlen(wait(stream).message) == sizeof StreamError::message - 1);
}

void shutdownDropsWhatHasNotStarted() {
  Stream& stream = newStream();
  const auto held = std::make_shared<int>(0);
  std::atomic<int> ran = 0;
  auto gate = std::make_unique<Gate>(stream);
  stream.enqueue("waiting", [&ran, held] { ++ran; });
  CHECK(held.use_count() == 2);
  std::thread ending([&stream] { stream.shutdown(); });
  while (stream.enqueue("late", [&ran] { ++ran; }) == Status::ok) std::this_thread::yield();
  // Waits for the running task; waiting ones are destroyed with everything they hold.
  gate->open();
  ending.join();
  CHECK(ran == 0);
  CHECK(held.use_count() == 1);
  CHECK(stream.enqueue("late", [] {}) == Status::failed);
  CHECK(stream.callback([](void*, const StreamError*) {}, nullptr) == Status::failed);
  stream.shutdown();  // again, with nothing to do
}

void shutdownWhileManyEnqueue() {
  Stream& stream = newStream();
  std::atomic<int> running = 0, accepted = 0, ran = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 6; ++thread)
    threads.emplace_back([&] {
      ++running;
      while (stream.enqueue("count", [&ran] { ++ran; }) == Status::ok) ++accepted;
    });
  while (running < 6 || ran < 100) std::this_thread::yield();
  stream.shutdown();
  const int at = ran;
  for (std::thread& thread : threads) thread.join();
  CHECK(ran == at);  // no task returned after shutdown
  CHECK(ran <= accepted);
}

void memoryHasALimit() {
  Stream& stream = newStream();
  constexpr size_t kBlock = 1 << 20;
  void *first = nullptr, *second = nullptr, *third = nullptr;
  stream.setMemoryLimit(2 * kBlock);
  CHECK(stream.allocate(kBlock, &first) == Status::ok);
  CHECK(stream.allocate(kBlock, &second) == Status::ok);
  CHECK(stream.allocate(1, &third) == Status::outOfMemory);
  CHECK(stream.allocate(SIZE_MAX, &third) == Status::outOfMemory);
  CHECK(stream.memoryFigures().inUse == 2 * kBlock && stream.memoryFigures().limit == 2 * kBlock);
  stream.release(first);
  CHECK(stream.allocate(kBlock, &third) == Status::ok);
  CHECK(third == first);
  stream.setMemoryLimit(kBlock / 2);  // less than what is in use: further allocations fail, existing memory stays
  CHECK(stream.allocate(1, &first) == Status::outOfMemory);
  stream.setMemoryLimit(0);
  CHECK(stream.allocate(5 * kBlock, &first) == Status::ok);
  for (void* block : {first, second, third}) stream.release(block);
  const mora::MemoryFigures figures = stream.memoryFigures();
  CHECK(figures.inUse == 0 && figures.peak == 7 * kBlock && figures.cached == 7 * kBlock && figures.limit == 0);
  stream.resetPeak();
  CHECK(stream.memoryFigures().peak == 0);
}

void trimKeepsLiveBlocks() {
  Stream& stream = newStream();
  constexpr size_t kBlock = 4 << 20;
  void* blocks[3];
  for (void*& block : blocks) {
    CHECK(stream.allocate(kBlock, &block) == Status::ok);
    std::memset(block, 7, kBlock);
  }
  stream.release(blocks[1]);
  CHECK(stream.trim() == Status::ok);
  CHECK(stream.memoryFigures().cached == 0);
  void* again = nullptr;
  CHECK(stream.allocate(kBlock, &again) == Status::ok);
  CHECK(again == blocks[1]);
  stream.enqueue("write", [again] { std::memset(again, 9, kBlock); });
  wait(stream);
  const auto holds = [](const void* block, int value) {
    const auto* bytes = static_cast<const unsigned char*>(block);
    for (size_t i = 0; i < kBlock; ++i)
      if (bytes[i] != value) return false;
    return true;
  };
  CHECK(holds(blocks[0], 7) && holds(again, 9) && holds(blocks[2], 7));
}

void manyThreadsMayAllocate() {
  Stream& stream = newStream();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 6; ++thread)
    threads.emplace_back([&stream, thread] {
      std::vector<unsigned char*> blocks;
      for (size_t i = 0; i < 300; ++i) {
        void* block = nullptr;
        const size_t bytes = 64 + i % 7 * 200;
        CHECK(stream.allocate(bytes, &block) == Status::ok);
        std::memset(block, thread, bytes);
        blocks.push_back(static_cast<unsigned char*>(block));
        if (i % 3 == 2) {
          CHECK(*blocks.front() == thread);
          stream.release(blocks.front());
          blocks.erase(blocks.begin());
        }
      }
      for (unsigned char* block : blocks) {
        CHECK(*block == thread);
        stream.release(block);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(stream.memoryFigures().inUse == 0);
}

void profileCountsOperations() {
  Stream& stream = newStream();
  stream.enqueue("before", [] {});
  wait(stream);
  stream.profile().turn(true);
  CHECK(stream.profile().on());
  for (int i = 0; i < 3; ++i) stream.enqueue("matmul", [] {}, {10, 20, "4x4", {}});
  wait(stream);
  wait(stream);  // the callback itself is an operation
  stream.profile().turn(false);
  const std::string report = stream.profile().report();
  CHECK(report.find("\"operation\":\"matmul\",\"label\":\"4x4\",\"calls\":3") != std::string::npos);
  CHECK(report.find("\"flops\":30,\"bytes\":60") != std::string::npos);
  CHECK(report.find("before") == std::string::npos);
}

// Compares with a count pair by pair: documents with a cache, with fewer keys than queries, and windows of all sizes.
void pairsAreCounted() {
  const int32_t queries[] = {0, 5, 6, 13}, keys[] = {0, 5, 26, 30};
  for (const int64_t window : {0, 1, 3, 5, 20, 21, 100}) {
    double expected = 0;
    for (int document = 0; document < 3; ++document) {
      const int count = queries[document + 1] - queries[document], seen = keys[document + 1] - keys[document];
      for (int query = 0; query < count; ++query)
        for (int key = 0; key < seen; ++key) {
          const int distance = query + seen - count - key;
          expected += distance >= 0 && (window == 0 || distance < window);
        }
    }
    CHECK(mora::causalPairs(queries, keys, 4, window) == expected);
  }
}

}  // namespace

int main() {
  workRunsInOrder();
  manyThreadsMayEnqueue();
  depthCountsWhatIsNotFinished();
  errorsSurfaceAtTheNextCallback();
  shutdownDropsWhatHasNotStarted();
  shutdownWhileManyEnqueue();
  memoryHasALimit();
  trimKeepsLiveBlocks();
  manyThreadsMayAllocate();
  profileCountsOperations();
  pairsAreCounted();
  return mora::test::finish();
}
