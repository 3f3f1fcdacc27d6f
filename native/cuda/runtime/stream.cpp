#include "cuda/runtime/stream.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cuda/runtime/device_report.h"
#include "cuda/runtime/devices.h"

namespace mora {

using cuda::check;
using cuda::Context;

namespace {

int attributeOf(int device, cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for the device's measures");
  return value;
}

/// Makes the device current on the calling thread, and returns how much of its memory may be used at first.
uint64_t useDevice(int device) {
  check(cudaSetDevice(device), "opening the device");
  cuda::requireCode(device);
  size_t unused = 0, total = 0;
  check(cudaMemGetInfo(&unused, &total), "asking for the device's memory");
  // Memory shared with the host also serves the operating system and other processes.
  return attributeOf(device, cudaDevAttrIntegrated) != 0 ? unused / 5 * 4 : total;
}

}  // namespace

Stream::Stream(int device)
    : worker_(*new Worker),
      memory_(device, useDevice(device)),
      completions_(device),
      scratch_{memory_, staging_, completions_, {}} {
  check(cudaStreamCreateWithFlags(&context_.stream, cudaStreamNonBlocking), "a stream");
  void* const workspace = memory_.allocateWorking(cuda::Products::kWorkspace);
  if (!workspace) throw std::bad_alloc();
  const cuda::CublasSession cublas = cuda::startCublas();
  products_.emplace(cublas.table, cublas.handle, context_.stream, workspace);
  context_.multiprocessors = attributeOf(device, cudaDevAttrMultiProcessorCount);
  context_.sharedBytesPerBlock = static_cast<size_t>(attributeOf(device, cudaDevAttrMaxSharedMemoryPerBlockOptin));
  context_.products = &*products_;
  context_.memory = &scratch_;
  check(cudaMalloc(&context_.report, sizeof *context_.report), "memory for reports");
  check(cudaMemsetAsync(context_.report, 0, sizeof *context_.report, context_.stream), "memory for reports");
  worker_.enqueue([device] { cudaSetDevice(device); });
}

Status Stream::enqueue(const char* operation, Work work, Cost cost) {
  if (lost_) return Status::failed;
  ++enqueued_;
  const bool taken = worker_.enqueue([this, task = Task{operation, std::move(work), std::move(cost)}] { run(task); });
  return taken ? Status::ok : Status::failed;
}

void Stream::run(const Task& task) {
  context_.issued = issued_;
  if (lost_) {
    // The callback reports the reason.
  } else if (profile_.on()) {
    runTimed(task);
  } else {
    guarded(task.operation, [&] { task.work(context_); });
  }
  // Checks for completed operations only occasionally: each check costs an event and wakes a thread.
  constexpr uint64_t kOften = 32;
  if (++issued_ % kOften == 0) guarded("mark", [&] { mark(); });
}

void Stream::mark() {
  if (lost_) {
    finished_ = issued_.load();
    return;
  }
  completions_.whenReached(context_.stream, [this, issued = issued_.load()](cudaError_t) { finished_ = issued; });
}

void Stream::runTimed(const Task& task) {
  const auto cost = std::make_shared<Cost>(task.cost);
  cudaEvent_t start = nullptr;
  guarded("profile", [&] {
    if (cost->pairs) addPairs(cost);
    start = completions_.now(context_.stream);
  });
  guarded(task.operation, [&] { task.work(context_); });
  if (!start) return;
  guarded("profile", [&] {
    completions_.whenReached(context_.stream, start, [this, operation = task.operation, cost](double seconds) {
      profile_.add(operation, *cost, seconds);
    });
  });
}

// The offsets are on the device, and arrive before the operation is done.
void Stream::addPairs(const std::shared_ptr<Cost>& cost) {
  const auto count = static_cast<size_t>(cost->pairs->count());
  const auto offsets = std::make_shared<std::vector<int32_t>>(2 * count);
  copyToHost(context_, offsets->data(), cost->pairs->queryOffsets.data, sizeof(int32_t) * count, offsets);
  copyToHost(context_, offsets->data() + count, cost->pairs->keyOffsets.data, sizeof(int32_t) * count, offsets);
  completions_.whenReached(context_.stream, [offsets, cost, count](cudaError_t) {
    cost->flops += cost->pairs->flopsPerPair * causalPairs(offsets->data(), offsets->data() + count,
                                                           static_cast<int64_t>(count), cost->pairs->window);
  });
}

template <typename Body>
void Stream::guarded(const char* operation, Body&& body) {
  try {
    body();
  } catch (const cuda::DeviceLost& lost) {
    lose(operation, lost);
  } catch (const std::bad_alloc&) {
    remember(operation, Status::outOfMemory, "the device has no memory left for working space");
  } catch (const Unsupported& refusal) {
    remember(operation, Status::unsupported, refusal.what());
  } catch (const std::exception& failure) {
    remember(operation, Status::failed, failure.what());
  }
}

// The first error is the cause; what follows it is usually its consequence.
void Stream::remember(const char* operation, Status status, std::string message) {
  if (message.ends_with('.')) message.pop_back();  // the caller appends it
  const std::lock_guard lock(errorMutex_);
  if (error_.status != Status::ok) return;
  error_.status = status;
  std::snprintf(error_.operation, sizeof error_.operation, "%s", operation);
  std::snprintf(error_.message, sizeof error_.message, "%s", message.c_str());
}

void Stream::lose(const char* operation, const cuda::DeviceLost& lost) {
  // With this variable set, a launch waits for its kernel, so the launch that reports the error caused it.
  const char* const blocking = std::getenv("CUDA_LAUNCH_BLOCKING");
  const std::lock_guard lock(errorMutex_);
  if (lost_) return;
  failure_ = cuda::errorOf(lost);
  if (blocking && std::strcmp(blocking, "1") == 0) {
    std::snprintf(failure_.operation, sizeof failure_.operation, "%s", operation);
    std::snprintf(failure_.message, sizeof failure_.message,
                  "%s (CUDA error %d); this process cannot use the GPU any more", lost.what(),
                  static_cast<int>(lost.error()));
  }
  lost_ = true;
}

StreamError Stream::failure() {
  const std::lock_guard lock(errorMutex_);
  return failure_;
}

StreamError Stream::takeError() {
  StreamError error{};
  const std::lock_guard lock(errorMutex_);
  std::swap(error, error_);
  return error.status == Status::ok ? failure_ : error;
}

Status Stream::beside(SideWork work) {
  return enqueue("beside", [this, waiter = std::make_shared<cuda::Waiter>(work)](Context& context) {
    if (!side_) side_.emplace();
    side_->run(context.stream, waiter);
  });
}

Status Stream::join() {
  return enqueue("join", [this](Context& context) {
    if (side_) side_->join(context.stream);
  });
}

Status Stream::callback(void (*done)(void*, const StreamError*), void* user) {
  return worker_.enqueue([this, done, user] { deliver(done, user); }) ? Status::ok : Status::failed;
}

void Stream::deliver(void (*done)(void*, const StreamError*), void* user) {
  StreamError error = takeError();
  // Earlier copies to the host may still write there, so their waiters must not be released sooner.
  const auto fail = [&] {
    guarded("mark", [&] { mark(); });
    completions_.afterOthers([error, done, user] { done(user, &error); });
  };
  if (lost_) return fail();
  try {
    const cuda::Staging::Slice slice = staging_.take(sizeof(cuda::DeviceReport));
    check(cudaMemcpyAsync(slice.get(), context_.report, sizeof(cuda::DeviceReport), cudaMemcpyDeviceToHost,
                          context_.stream),
          "reading the report");
    check(cudaMemsetAsync(context_.report, 0, sizeof(cuda::DeviceReport), context_.stream), "clearing the report");
    completions_.whenReached(context_.stream, [this, error, slice, done, user](cudaError_t device) mutable {
      if (device != cudaSuccess) lose("synchronize", cuda::DeviceLost(device));
      if (error.status == Status::ok) error = failure();
      cuda::DeviceReport report;
      std::memcpy(&report, slice.get(), sizeof report);
      if (error.status == Status::ok) error = cuda::errorOf(report);
      done(user, &error);
    });
    return guarded("mark", [&] { mark(); });
  } catch (...) {
    // Waiters must be notified even if nothing can be enqueued any more.
    guarded("synchronize", [] { throw; });
  }
  if (error.status == Status::ok) error = takeError();
  fail();
}

void Stream::shutdown() {
  worker_.close();
  if (side_) side_->close();
  completions_.drain();
}

Status Stream::allocate(size_t bytes, void** data) {
  using Outcome = cuda::Memory::Outcome;
  Outcome outcome = memory_.allocate(bytes, data);
  if (outcome == Outcome::full) {
    // Cached memory may be needed in other sizes, once nothing uses it.
    auto freed = std::make_shared<std::promise<void>>();
    std::future<void> done = freed->get_future();
    // If the task never runs, its promise is destroyed with it, which wakes the future.
    const Status status =
        enqueue("trim", [work = freeing(memory_.takeUnused()), freed = std::move(freed)](Context& context) {
          work(context);
          freed->set_value();
        });
    if (status == Status::ok) done.wait();
    outcome = memory_.allocate(bytes, data);
  }
  if (outcome == Outcome::ok) return Status::ok;
  return lost_ ? Status::failed : Status::outOfMemory;
}

void Stream::release(void* data) {
#ifdef MORA_CUDA_EMULATED
  // Reads of a block after its release, or before it is written again, give NaN.
  memory_.release(data, [&](uint64_t bytes) {
    enqueue("release", [=](Context& context) { cudaMemsetAsync(data, 0xff, bytes, context.stream); });
    return enqueued_.load();
  });
#else
  memory_.release(data, [&](uint64_t) { return enqueued_.load(); });
#endif
}

Status Stream::trim() { return enqueue("trim", freeing(memory_.takeUnused())); }

Stream::Work Stream::freeing(std::vector<void*> segments) {
  return [this, segments = std::move(segments)](Context& context) {
    check(cudaStreamSynchronize(context.stream), "waiting for the stream");  // a lost device has no memory to give back
    for (void* segment : segments) cudaFree(segment);
    scratch_.releaseAll();
  };
}

}  // namespace mora
