// The CUDA backend's table: every launcher is enqueued on the stream under its own name; and the function that this
// library exports.
#include "core/backend.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>

#include "core/gpu.h"
#include "core/operation_cost.h"
#include "cuda/kernels.h"
#include "cuda/products/products.h"
#include "cuda/runtime/devices.h"
#include "cuda/runtime/stream.h"

namespace mora {
namespace {

using cuda::Context;

template <Name name, auto kernel>
struct Enqueue;
template <Name name, typename... Args, void (*kernel)(Context&, Args...)>
struct Enqueue<name, kernel> {
  static Status call(Stream* stream, Args... args) {
    return stream->enqueue(
        name.value, [... kept = kept(args)](Context& context) { kernel(context, kept...); },
        stream->profile().on() ? costOfCall<name>(args...) : Cost());
  }
};

Status copyFromHost(Stream* stream, void* target, size_t bytes, HostSource source) {
  // The source is released even if the copy never runs.
  return stream->enqueue("copyFromHost",
                         [=, owned = std::shared_ptr<void>(source.user, source.done)](Context& context) {
                           copyToDevice(context, target, bytes, [&](std::byte* to, size_t offset, size_t count) {
                             if (const char* const why = source.read(source.user, to, offset, count))
                               throw std::runtime_error(why);
                           });
                         });
}

Status copyToHost(Stream* stream, void* host, const void* source, size_t bytes, void (*done)(void*), void* user) {
  return stream->enqueue("copyToHost", [=, owned = std::shared_ptr<void>(user, done)](Context& context) {
    copyToHost(context, host, source, bytes, owned);
  });
}

Status streamCreate(int32_t device, int32_t, Stream** stream, char* why, size_t capacity) {
  try {
    *stream = new Stream(cuda::runtimeIndex(device));
    return Status::ok;
  } catch (const std::bad_alloc&) {
    std::snprintf(why, capacity, "the device has no memory left for working space");
    return Status::outOfMemory;
  } catch (const std::exception& failure) {
    std::snprintf(why, capacity, "%s", failure.what());
    return Status::failed;
  }
}

/// Products support no block formats and no 8 bits; losses need whole logits.
bool supports(int32_t, Operation operation, const DType*, int32_t) {
  return operation != Operation::matmulInt8 && operation != Operation::crossEntropyPart &&
         operation != Operation::crossEntropyOfParts;
}

constexpr CudaExtras kExtras{
    .abi = kCudaExtrasAbi,
    .identify = cuda::identify,
    .beside = [](Stream* stream, SideWork work) { return stream->beside(work); },
    .join = [](Stream* stream) { return stream->join(); },
};

constexpr Backend kCuda{
    .abi = kBackendAbi,
    .name = "cuda",
    .deviceCount = cuda::deviceCount,
    .deviceFacts = cuda::deviceFacts,
    .streamCreate = streamCreate,
    .setThreads = [](Stream*, int32_t) { return Status::ok; },
    .setAllowTf32 =
        [](Stream* stream, bool allow) {
          return stream->enqueue("setAllowTf32", [=](Context& context) { context.products->allowTf32(allow); });
        },
    .setRowsAlone = [](Stream*, bool) { return Status::ok; },
    .queueDepth = [](Stream* stream) { return stream->depth(); },
    .callback = [](Stream* stream, void (*done)(void*, const StreamError*),
                   void* user) { return stream->callback(done, user); },
    .failure = [](Stream* stream) { return stream->failure(); },
    .shutdown = [](Stream* stream) { stream->shutdown(); },
    .allocate = [](Stream* stream, size_t bytes, void** data) { return stream->allocate(bytes, data); },
    .release = [](Stream* stream, void* data) { stream->release(data); },
    .memoryFigures = [](Stream* stream, MemoryFigures* figures) { *figures = stream->memory().figures(); },
    .setMemoryLimit = [](Stream* stream, uint64_t bytes) { stream->memory().setLimit(bytes); },
    .resetPeak = [](Stream* stream) { stream->memory().resetPeak(); },
    .trim = [](Stream* stream) { return stream->trim(); },
    .copyFromHost = copyFromHost,
    .copyToHost = copyToHost,
    .profile =
        [](Stream* stream, bool on) {
          stream->profile().turn(on);
          return Status::ok;
        },
    .profileReport = [](Stream* stream, char* json, size_t capacity,
                        size_t* needed) { return stream->profile().copyReport(json, capacity, needed); },
    .supports = supports,
    .foldedSide = cuda::foldedSide,
#define MORA_OPERATION(name, ...) .name = Enqueue<#name, &cuda::name>::call,
#include "core/operations.def"
};

}  // namespace
}  // namespace mora

/// See CudaExtrasEntry.
extern "C" __attribute__((visibility("default"))) const mora::CudaExtras* moraCudaExtras() { return &mora::kExtras; }

/// See CudaBackendEntry.
extern "C" __attribute__((visibility("default"))) const mora::Backend* moraCudaBackend(char* problem,
                                                                                       size_t problemCapacity,
                                                                                       char* remedy,
                                                                                       size_t remedyCapacity) {
  const mora::Absence& missing = mora::cuda::whatIsMissing();
  std::snprintf(problem, problemCapacity, "%s", missing.problem.c_str());
  std::snprintf(remedy, remedyCapacity, "%s", missing.remedy.c_str());
  return missing ? nullptr : &mora::kCuda;
}
