// The CUDA backend's stream on the emulator: copies in order, errors at the next callback, exhausted memory, and
// shutdown with waiting work.
#include "cuda/runtime/stream.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"
#include "cuda/runtime/check.h"
#include "wait.h"

using mora::Status;
using mora::Stream;
using mora::StreamError;
using mora::cuda::Context;
using mora::cuda::Slot;
using mora::test::wait;

namespace {

/// Streams live as long as the process.
Stream& newStream() {
  static auto* const streams = new std::vector<Stream*>;
  streams->push_back(new Stream(0));
  return *streams->back();
}

std::vector<unsigned char> pattern(size_t bytes, unsigned start) {
  std::vector<unsigned char> data(bytes);
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<unsigned char>(start + i * 31 + i / 251);
  return data;
}

void copiesGoThereAndBack() {
  Stream& stream = newStream();
  // Empty, small, and longer than the ring of pinned memory.
  for (const size_t bytes : {size_t{0}, size_t{5}, 5 * mora::cuda::Staging::kPiece + 17}) {
    std::vector<unsigned char> there = pattern(bytes, 3), back(bytes);
    void* data = nullptr;
    CHECK(stream.allocate(bytes, &data) == Status::ok);
    stream.enqueue("to", [&](Context& context) { copyToDevice(context, data, there.data(), bytes); });
    stream.enqueue("from", [&](Context& context) { copyToHost(context, back.data(), data, bytes); });
    CHECK(wait(stream).status == Status::ok);
    CHECK(there == back);
    stream.release(data);
  }
}

void hostMemoryMayGoOnceItsCopyWasIssued() {
  Stream& stream = newStream();
  constexpr size_t kBytes = 1000;
  void* data = nullptr;
  CHECK(stream.allocate(kBytes, &data) == Status::ok);
  std::vector<unsigned char> back(kBytes);
  stream.enqueue("to", [=](Context& context) {
    std::vector<unsigned char> there = pattern(kBytes, 9);
    copyToDevice(context, data, there.data(), kBytes);
    std::memset(there.data(), 0, kBytes);
  });
  stream.enqueue("from", [&](Context& context) { copyToHost(context, back.data(), data, kBytes); });
  CHECK(wait(stream).status == Status::ok);
  CHECK(back == pattern(kBytes, 9));
  stream.release(data);
}

void uploadsFollowEachOther() {
  Stream& stream = newStream();
  std::vector<int> seen(50);
  stream.enqueue("uploads", [&](Context& context) {
    for (int i = 0; i < 50; ++i) {
      const void* const there = context.upload(&i, sizeof i);
      copyToHost(context, &seen[static_cast<size_t>(i)], there, sizeof i);
    }
  });
  CHECK(wait(stream).status == Status::ok);
  for (int i = 0; i < 50; ++i) CHECK(seen[static_cast<size_t>(i)] == i);
}

void whatIsKeptIsFoundAgainUntilThereIsTooMuch() {
  Stream& stream = newStream();
  const auto working = [&] { return stream.memory().figures().working; };
  const uint64_t before = working();
  std::vector<bool> fresh;
  std::vector<uint64_t> held;
  stream.enqueue("kept", [&](Context& context) {
    const auto ask = [&](int64_t key) {
      fresh.push_back(context.kept({1, 2, key}, 1000).fresh);
      held.push_back(working() - before);
    };
    ask(0);
    ask(0);
    ask(1);
    for (int64_t key = 0; key < 1000; ++key) ask(key);
    ask(999);
    ask(0);
  });
  CHECK(wait(stream).status == Status::ok);
  CHECK(fresh[0] && !fresh[1] && fresh[2] && !fresh[3] && !fresh[fresh.size() - 2] && fresh.back());
  CHECK(held[1] == 1000 && *std::max_element(held.begin(), held.end()) <= 100 * 1000);
  CHECK(stream.trim() == Status::ok && wait(stream).status == Status::ok);
  CHECK(working() == before);
}

void errorsSurfaceAtTheNextCallback() {
  Stream& stream = newStream();
  stream.enqueue("rope", [](Context&) { throw mora::Error("cuda", "the launch failed."); });
  stream.enqueue("swiglu", [](Context&) { throw std::runtime_error("a consequence"); });
  const StreamError error = wait(stream);
  CHECK(error.status == Status::failed);
  CHECK(std::strcmp(error.operation, "rope") == 0 && std::strcmp(error.message, "the launch failed") == 0);
  CHECK(wait(stream).status == Status::ok);  // the error was cleared
}

void aReportOfTheDeviceReadsLikeTheCpus() {
  Stream& stream = newStream();
  const auto report = [&](mora::Operation operation) {
    const mora::cuda::DeviceReport value{static_cast<int32_t>(operation), 3, -7, 100};
    stream.enqueue("report", [=](Context& context) { copyToDevice(context, context.report, &value, sizeof value); });
    return wait(stream);
  };
  const StreamError index = report(mora::Operation::gatherRows);
  CHECK(std::strcmp(index.operation, "gatherRows") == 0);
  CHECK(std::strcmp(index.message, "gatherRows expected indices in [0, 100) but index 3 is -7") == 0);
  const StreamError target = report(mora::Operation::crossEntropy);
  CHECK(std::strcmp(target.message, "crossEntropy expected targets below 100 but target 3 is -7") == 0);
  CHECK(wait(stream).status == Status::ok);
}

void theDepthFallsToNothing() {
  Stream& stream = newStream();
  for (int i = 0; i < 100; ++i) stream.enqueue("nothing", [](Context&) {});
  CHECK(wait(stream).status == Status::ok);
  while (stream.depth() > 0) std::this_thread::yield();
}

void fewOperationsAreNotWatched() {
  Stream& stream = newStream();
  std::promise<void> issued;
  for (int i = 0; i < 10; ++i) stream.enqueue("nothing", [](Context&) {});
  stream.enqueue("last", [&](Context&) { issued.set_value(); });
  issued.get_future().wait();
  // If one were recorded, its event would be reached by now.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(stream.depth() == 11);
  CHECK(wait(stream).status == Status::ok);
}

void aFullDeviceGivesUpWhatIsCached() {
  Stream& stream = newStream();
  size_t unused = 0, total = 0;
  CHECK(cudaMemGetInfo(&unused, &total) == cudaSuccess);
  stream.memory().setLimit(0);
  void *half = nullptr, *most = nullptr, *more = nullptr;
  CHECK(stream.allocate(total / 2, &half) == Status::ok);
  stream.release(half);
  CHECK(stream.allocate(total / 4 * 3, &most) == Status::ok);  // replaces the half that is cached
  CHECK(stream.allocate(total / 2, &more) == Status::outOfMemory);
  CHECK(stream.allocate(1000, &more) == Status::ok);  // the stream remains usable
  stream.release(most);
  stream.release(more);
  CHECK(stream.trim() == Status::ok && wait(stream).status == Status::ok);
  CHECK(stream.memory().figures().cached == 0);
}

void aFullDeviceGivesUpWhatIsCachedForScratchToo() {
  Stream& stream = newStream();
  size_t unused = 0, total = 0;
  CHECK(cudaMemGetInfo(&unused, &total) == cudaSuccess);
  stream.memory().setLimit(0);
  void* most = nullptr;
  CHECK(stream.allocate(unused / 4 * 3, &most) == Status::ok);
  // Released while an operation that uses it is waiting: the segment must stay until that has run.
  std::promise<void> opened;
  stream.enqueue("gate", [&](Context&) { opened.get_future().wait(); });
  stream.enqueue("scratch", [&](Context& context) { context.scratch(Slot::partials, unused / 2); });
  stream.enqueue("use", [=](Context& context) {
    mora::cuda::check(cudaMemsetAsync(most, 1, 1000, context.stream), "the segment");
  });
  stream.release(most);
  opened.set_value();
  const StreamError tooSoon = wait(stream);
  CHECK(tooSoon.status == Status::outOfMemory && std::strcmp(tooSoon.operation, "scratch") == 0);
  stream.enqueue("scratch", [&](Context& context) { context.scratch(Slot::partials, unused / 2); });
  CHECK(wait(stream).status == Status::ok);
  CHECK(stream.trim() == Status::ok && wait(stream).status == Status::ok);
}

void slicesComeBackWhereACopyFails() {
  Stream& stream = newStream();
  const std::vector<unsigned char> there(mora::cuda::Staging::kPiece);
  int nothing = 0;
  // More than the ring holds: a slice that is never returned would make a later one wait forever.
  for (int i = 0; i < 9; ++i) {
    stream.enqueue("copy", [&](Context& context) { copyToDevice(context, &nothing, there.data(), there.size()); });
    const StreamError error = wait(stream);
    CHECK(error.status == Status::failed && std::strstr(error.message, "copying to the device: invalid argument"));
  }
  copiesGoThereAndBack();
}

void aLostDeviceSaysSoToAllWhoWaitOrAsk() {
  Stream& stream = newStream();
  bool ran = false;
  stream.enqueue("kernel", [](Context&) { throw mora::cuda::DeviceLost(cudaErrorIllegalAddress); });
  stream.enqueue("after", [&](Context&) { ran = true; });
  for (int i = 0; i < 3; ++i) {
    const StreamError error = wait(stream);
    CHECK(error.status == Status::failed && std::strstr(error.message, "an illegal memory access was encountered"));
  }
  while (stream.depth() > 0) std::this_thread::yield();
  CHECK(!ran && stream.failure().status == Status::failed);
  CHECK(stream.enqueue("late", [&](Context&) { ran = true; }) == Status::failed);
  stream.shutdown();
}

void shutdownDropsWhatHasNotStarted() {
  Stream& stream = newStream();
  std::promise<void> reached, opened;
  stream.enqueue("gate", [&](Context&) {
    reached.set_value();
    opened.get_future().wait();
  });
  reached.get_future().wait();
  bool ran = false;
  stream.enqueue("waiting", [&](Context&) { ran = true; });
  std::thread ending([&] { stream.shutdown(); });
  while (stream.enqueue("late", [](Context&) {}) == Status::ok) std::this_thread::yield();
  opened.set_value();
  ending.join();
  CHECK(!ran);
  CHECK(stream.callback([](void*, const StreamError*) {}, nullptr) == Status::failed);
  stream.shutdown();
}

void theProfileCountsOperations() {
  Stream& stream = newStream();
  stream.profile().turn(true);
  for (int i = 0; i < 3; ++i) stream.enqueue("matmul", [](Context&) {}, {10, 20, "4x4", {}});
  CHECK(wait(stream).status == Status::ok);
  stream.profile().turn(false);
  const std::string report = stream.profile().report();
  CHECK(report.find("\"operation\":\"matmul\",\"label\":\"4x4\",\"calls\":3") != std::string::npos);
  CHECK(report.find("\"flops\":30,\"bytes\":60") != std::string::npos);
}

}  // namespace

int main() {
  copiesGoThereAndBack();
  hostMemoryMayGoOnceItsCopyWasIssued();
  uploadsFollowEachOther();
  whatIsKeptIsFoundAgainUntilThereIsTooMuch();
  errorsSurfaceAtTheNextCallback();
  aReportOfTheDeviceReadsLikeTheCpus();
  theDepthFallsToNothing();
  fewOperationsAreNotWatched();
  aFullDeviceGivesUpWhatIsCached();
  aFullDeviceGivesUpWhatIsCachedForScratchToo();
  slicesComeBackWhereACopyFails();
  aLostDeviceSaysSoToAllWhoWaitOrAsk();
  shutdownDropsWhatHasNotStarted();
  theProfileCountsOperations();
  return mora::test::finish();
}
