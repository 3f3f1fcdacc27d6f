#include "cuda/stream.h"

#include <cstdio>
#include <cstring>
#include <future>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cuda/check.h"
#include "cuda/device_report.h"

namespace mora {

using cuda::check;
using cuda::Context;

namespace {

int attributeOf(int device, cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for the device's measures");
  return value;
}

/// Makes the device the calling thread's, and tells its memory.
uint64_t useDevice(int device) {
  check(cudaSetDevice(device), "opening the device");
  size_t unused = 0, total = 0;
  check(cudaMemGetInfo(&unused, &total), "asking for the device's memory");
  return total;
}

}  // namespace

Stream::Stream(int device, const cuda::CublasTable& cublas)
    : worker_(*new Worker),
      memory_(device, useDevice(device)),
      completions_(device),
      scratch_{memory_, staging_, completions_, {}} {
  check(cudaStreamCreateWithFlags(&context_.stream, cudaStreamNonBlocking), "a stream");
  void* const workspace = memory_.allocateWorking(cuda::Products::kWorkspace);
  if (!workspace) throw std::bad_alloc();
  products_.emplace(cublas, context_.stream, workspace);
  context_.multiprocessors = attributeOf(device, cudaDevAttrMultiProcessorCount);
  context_.sharedBytesPerBlock = static_cast<size_t>(attributeOf(device, cudaDevAttrMaxSharedMemoryPerBlockOptin));
  context_.products = &*products_;
  context_.memory = &scratch_;
  check(cudaMalloc(&context_.report, sizeof *context_.report), "memory for reports");
  check(cudaMemsetAsync(context_.report, 0, sizeof *context_.report, context_.stream), "memory for reports");
  worker_.enqueue([device] { cudaSetDevice(device); });
}

Status Stream::enqueue(const char* operation, Work work, Cost cost) {
  const bool taken = worker_.enqueue([this, task = Task{operation, std::move(work), std::move(cost)}] { run(task); });
  return taken ? Status::ok : Status::failed;
}

void Stream::run(const Task& task) {
  if (profile_.on())
    runTimed(task);
  else
    guarded(task.operation, [&] { task.work(context_); });
  // Which operations are done is looked at when there is nothing else to issue, and now and then.
  constexpr uint64_t kOften = 32;
  const uint64_t issued = ++issued_;
  if (worker_.depth() > 1 && issued - marked_ < kOften) return;
  marked_ = issued;
  guarded("mark",
          [&] { completions_.whenReached(context_.stream, [this, issued](cudaError_t) { finished_ = issued; }); });
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

// The offsets lie on the device, and arrive before the operation is done.
void Stream::addPairs(const std::shared_ptr<Cost>& cost) {
  const auto count = static_cast<size_t>(cost->pairs->count());
  const auto offsets = std::make_shared<std::vector<int32_t>>(2 * count);
  copyToHost(context_, offsets->data(), cost->pairs->queryOffsets.data, sizeof(int32_t) * count);
  copyToHost(context_, offsets->data() + count, cost->pairs->keyOffsets.data, sizeof(int32_t) * count);
  completions_.whenReached(context_.stream, [offsets, cost, count](cudaError_t) {
    cost->flops += cost->pairs->flopsPerPair * causalPairs(offsets->data(), offsets->data() + count,
                                                           static_cast<int64_t>(count), cost->pairs->window);
  });
}

template <typename Body>
void Stream::guarded(const char* operation, Body&& body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    remember(operation, Status::outOfMemory, "the device has no memory left for working space");
  } catch (const std::exception& failure) {
    remember(operation, Status::failed, failure.what());
  }
}

// The first error is the cause; what follows it is usually its consequence.
void Stream::remember(const char* operation, Status status, std::string message) {
  if (message.ends_with('.')) message.pop_back();  // the caller writes sentences
  const std::lock_guard lock(errorMutex_);
  if (error_.status != Status::ok) return;
  error_.status = status;
  std::snprintf(error_.operation, sizeof error_.operation, "%s", operation);
  std::snprintf(error_.message, sizeof error_.message, "%s", message.c_str());
}

StreamError Stream::takeError() {
  StreamError error{};
  const std::lock_guard lock(errorMutex_);
  std::swap(error, error_);
  return error;
}

Status Stream::callback(void (*done)(void*, const StreamError*), void* user) {
  return enqueue("callback", [this, done, user](Context&) { deliver(done, user); });
}

void Stream::deliver(void (*done)(void*, const StreamError*), void* user) {
  StreamError error = takeError();
  try {
    const cuda::Staging::Slice slice = staging_.take(sizeof(cuda::DeviceReport));
    check(cudaMemcpyAsync(slice.data, context_.report, sizeof(cuda::DeviceReport), cudaMemcpyDeviceToHost,
                          context_.stream),
          "reading the report");
    check(cudaMemsetAsync(context_.report, 0, sizeof(cuda::DeviceReport), context_.stream), "clearing the report");
    completions_.whenReached(context_.stream, [this, error, slice, done, user](cudaError_t device) mutable {
      cuda::DeviceReport report;
      std::memcpy(&report, slice.data, sizeof report);
      staging_.release(slice);
      if (error.status == Status::ok && device != cudaSuccess) error = cuda::errorOf(device);
      if (error.status == Status::ok) error = cuda::errorOf(report);
      done(user, &error);
    });
  } catch (const std::exception& failure) {
    // Whoever waits must hear of it, even if nothing can be enqueued any more.
    remember("synchronize", Status::failed, failure.what());
    const StreamError instead = takeError();
    done(user, error.status == Status::ok ? &instead : &error);
  }
}

void Stream::shutdown() {
  worker_.close();
  completions_.drain();
}

Status Stream::allocate(size_t bytes, void** data) {
  using Outcome = cuda::Memory::Outcome;
  Outcome outcome = memory_.allocate(bytes, data);
  if (outcome == Outcome::full) {
    // What is cached may serve in other pieces, once nothing works on it.
    const auto freed = std::make_shared<std::promise<void>>();
    const Status status = enqueue("trim", [work = freeing(memory_.takeUnused()), freed](Context& context) {
      work(context);
      freed->set_value();
    });
    if (status != Status::ok) return Status::outOfMemory;
    freed->get_future().wait();
    outcome = memory_.allocate(bytes, data);
  }
  return outcome == Outcome::ok ? Status::ok : Status::outOfMemory;
}

void Stream::release(void* data) {
#ifdef MORA_CUDA_EMULATED
  // What reads a block after its release, or before it is written again, finds NaN.
  memory_.release(data, [&](uint64_t bytes) {
    enqueue("release", [=](Context& context) { cudaMemsetAsync(data, 0xff, bytes, context.stream); });
  });
#else
  memory_.release(data);
#endif
}

Status Stream::trim() { return enqueue("trim", freeing(memory_.takeUnused())); }

Stream::Work Stream::freeing(std::vector<void*> segments) {
  return [this, segments = std::move(segments)](Context& context) {
    cudaStreamSynchronize(context.stream);  // an error shows at the next callback
    for (void* segment : segments) cudaFree(segment);
    scratch_.releaseAll();
  };
}

}  // namespace mora
