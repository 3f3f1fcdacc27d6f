// A stream's side work on the emulator: it sees what was enqueued before, runs in order beside the rest, and its
// waiters are always notified.
#include <atomic>
#include <cstring>
#include <functional>
#include <future>
#include <vector>

#include "check.h"
#include "cuda/runtime/stream.h"
#include "wait.h"

using mora::Status;
using mora::Stream;
using mora::StreamError;
using mora::cuda::Context;
using mora::test::wait;

namespace {

constexpr size_t kBytes = 1 << 16;

Stream& newStream() { return *new Stream(0); }  // lives as long as the process

/// Side work that a test waits for.
struct Side {
  std::function<const char*(cudaStream_t)> issue;
  std::promise<StreamError> done;

  StreamError run(Stream& stream) {
    start(stream);
    return done.get_future().get();
  }
  Status start(Stream& stream) {
    return stream.beside(
        {[](void* user, void* on) { return static_cast<Side*>(user)->issue(static_cast<cudaStream_t>(on)); },
         [](void* user, const StreamError* error) { static_cast<Side*>(user)->done.set_value(*error); }, this});
  }
};

void itSeesWhatCameBefore() {
  Stream& stream = newStream();
  void *values = nullptr, *copy = nullptr;
  CHECK(stream.allocate(kBytes, &values) == Status::ok && stream.allocate(kBytes, &copy) == Status::ok);
  for (int round = 1; round <= 20; ++round) {
    for (int value : {0, round})
      stream.enqueue("fill", [=](Context& context) { cudaMemsetAsync(values, value, kBytes, context.stream); });
    Side side{[=](cudaStream_t on) {
                cudaMemcpyAsync(copy, values, kBytes, cudaMemcpyDeviceToDevice, on);
                return nullptr;
              },
              {}};
    CHECK(side.run(stream).status == Status::ok);
    // Work enqueued after `done` sees the results.
    std::vector<char> back(kBytes);
    stream.enqueue("from", [&](Context& context) { copyToHost(context, back.data(), copy, kBytes); });
    CHECK(wait(stream).status == Status::ok);
    CHECK(back == std::vector<char>(kBytes, static_cast<char>(round)));
  }
}

void whatComesAfterwardsDoesNotWaitForIt() {
  Stream& stream = newStream();
  std::promise<void> released;
  std::shared_future<void> release = released.get_future().share();
  Side first{[=](cudaStream_t) {
               release.wait();
               return nullptr;
             },
             {}};
  std::atomic<bool> began = false;
  Side second{[&](cudaStream_t) {
                began = true;
                return nullptr;
              },
              {}};
  CHECK(first.start(stream) == Status::ok && second.start(stream) == Status::ok);
  CHECK(wait(stream).status == Status::ok);
  CHECK(!began);
  released.set_value();
  CHECK(first.done.get_future().get().status == Status::ok);
  CHECK(second.done.get_future().get().status == Status::ok);
}

void aFailureIsToldToWhoWaitsForItOnly() {
  Stream& stream = newStream();
  Side side{[](cudaStream_t) { return "the library has had enough"; }, {}};
  const StreamError error = side.run(stream);
  CHECK(error.status == Status::failed && std::strcmp(error.message, "the library has had enough") == 0);
  CHECK(wait(stream).status == Status::ok);
}

void afterTheEndItIsRefusedAndTold() {
  Stream& stream = newStream();
  stream.shutdown();
  Side side{[](cudaStream_t) { return nullptr; }, {}};
  CHECK(side.run(stream).status == Status::failed);
}

}  // namespace

int main() {
  itSeesWhatCameBefore();
  whatComesAfterwardsDoesNotWaitForIt();
  aFailureIsToldToWhoWaitsForItOnly();
  afterTheEndItIsRefusedAndTold();
  return mora::test::finish();
}
