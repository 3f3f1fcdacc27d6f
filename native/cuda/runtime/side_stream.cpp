#include "cuda/runtime/side_stream.h"

#include <cstdio>
#include <exception>
#include <future>

#include "cuda/runtime/check.h"

namespace mora::cuda {

Waiter::~Waiter() {
  if (!told_) fail("the device takes no more work");
}

void Waiter::issue(cudaStream_t stream) const {
  if (const char* const why = work_.issue(work_.user, stream)) throw Error("cuda", why);
}

void Waiter::tell(Status status, const std::string& why) {
  told_ = true;
  StreamError error{};
  error.status = status;
  std::snprintf(error.operation, sizeof error.operation, "beside");
  std::snprintf(error.message, sizeof error.message, "%s", why.c_str());
  work_.done(work_.user, &error);
}

namespace {

int currentDevice() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  return device;
}

/// A point of a stream.
class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "recording an event"); }
  /// Makes work enqueued on `stream` from here on wait for this point.
  void awaitOn(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0), "waiting for an event"); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

SideStream::SideStream() : SideStream(currentDevice()) {}

// The thread lives as long as the process.
SideStream::SideStream(int device) : worker_(*new Worker), completions_(device) {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a second stream");
  worker_.enqueue([device] { cudaSetDevice(device); });
}

void SideStream::run(cudaStream_t main, const std::shared_ptr<Waiter>& waiter) {
  const auto begin = std::make_shared<Event>();
  begin->record(main);
  worker_.enqueue([this, begin, waiter] {
    std::string why;
    try {
      begin->awaitOn(stream_);
      waiter->issue(stream_);
    } catch (const std::exception& failure) {
      why = failure.what();
    }
    tellAtEnd(waiter, why);
  });
}

// What was issued before a failure still uses the waiter's memory.
void SideStream::tellAtEnd(const std::shared_ptr<Waiter>& waiter, const std::string& failure) {
  try {
    completions_.whenReached(stream_, [waiter, failure](cudaError_t error) {
      if (!failure.empty())
        waiter->fail(failure);
      else if (error != cudaSuccess)
        waiter->fail(std::string("waiting for an event: ") + cudaGetErrorString(error));
      else
        waiter->done();
    });
  } catch (const std::exception& another) {
    waiter->fail(failure.empty() ? another.what() : failure);
  }
}

void SideStream::join(cudaStream_t main) {
  const auto end = std::make_shared<Event>();
  auto recorded = std::make_shared<std::promise<void>>();
  std::future<void> isRecorded = recorded->get_future();
  // If the task never runs, its promise is destroyed with it, which wakes the future.
  worker_.enqueue([this, end, recorded = std::move(recorded)] {
    try {
      end->record(stream_);
      recorded->set_value();
    } catch (...) {
      recorded->set_exception(std::current_exception());
    }
  });
  isRecorded.get();
  end->awaitOn(main);
}

void SideStream::close() {
  worker_.close();
  completions_.drain();
}

}  // namespace mora::cuda
