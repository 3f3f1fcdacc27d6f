#include "cuda/side_stream.h"

#include <cstdio>
#include <exception>

#include "cuda/check.h"

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

// The thread lives as long as the process.
SideStream::SideStream() : worker_(*new Worker) {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a second stream");
  check(cudaEventCreateWithFlags(&end_, cudaEventDisableTiming | cudaEventBlockingSync), "an event");
  worker_.enqueue([device] { cudaSetDevice(device); });
}

void SideStream::run(cudaStream_t main, const std::shared_ptr<Waiter>& waiter) {
  cudaEvent_t begin = nullptr;
  check(cudaEventCreateWithFlags(&begin, cudaEventDisableTiming), "an event");
  const cudaError_t error = cudaEventRecord(begin, main);
  if (error != cudaSuccess) cudaEventDestroy(begin);
  check(error, "recording an event");
  worker_.enqueue([this, begin, waiter] { perform(begin, *waiter); });
}

void SideStream::perform(cudaEvent_t begin, Waiter& waiter) {
  std::string why;
  try {
    check(cudaStreamWaitEvent(stream_, begin, 0), "waiting for an event");
    waiter.issue(stream_);
  } catch (const std::exception& failure) {
    why = failure.what();
  }
  cudaEventDestroy(begin);
  // What was issued before a failure still works on what the waiter holds.
  try {
    check(cudaEventRecord(end_, stream_), "recording an event");
    check(cudaEventSynchronize(end_), "waiting for an event");
  } catch (const std::exception& failure) {
    if (why.empty()) why = failure.what();
  }
  if (why.empty())
    waiter.done();
  else
    waiter.fail(why);
}

}  // namespace mora::cuda
