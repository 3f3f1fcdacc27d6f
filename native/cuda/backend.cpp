// The CUDA backend's table: every launcher, enqueued on the stream under its own name; and the one function that this
// library exports.
#include "core/backend.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "core/operation_cost.h"
#include "cuda/devices.h"
#include "cuda/kernels.h"
#include "cuda/products.h"
#include "cuda/stream.h"

namespace mora {
namespace {

using cuda::Context;

template <Name name, auto kernel>
struct Enqueue;
template <Name name, typename... Args, void (*kernel)(Context&, Args...)>
struct Enqueue<name, kernel> {
  static Status call(Stream* stream, Args... args) {
    return stream->enqueue(
        name.value, [=](Context& context) { kernel(context, args...); },
        stream->profile().on() ? costOfCall<name>(args...) : Cost());
  }
};

Status globalNorm(Stream* stream, const AdamWTensor* tensors, int64_t count, TensorDesc norm) {
  return stream->enqueue(
      "globalNorm",
      [list = std::vector(tensors, tensors + count), norm](Context& context) {
        cuda::globalNorm(context, list.data(), static_cast<int64_t>(list.size()), norm);
      },
      costOfList(tensors, count, 1));
}

Status adamw(Stream* stream, const AdamWTensor* tensors, int64_t count, AdamWStep step, TensorDesc scale) {
  return stream->enqueue(
      "adamw",
      [list = std::vector(tensors, tensors + count), step, scale](Context& context) {
        cuda::adamw(context, list.data(), static_cast<int64_t>(list.size()), step, scale);
      },
      costOfList(tensors, count, 7));  // reads all four, writes all but the gradient
}

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

#define MORA_OPERATION(name) .name = Enqueue<#name, &cuda::name>::call

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
    MORA_OPERATION(fill),
    MORA_OPERATION(copy),
    MORA_OPERATION(add),
    MORA_OPERATION(multiply),
    MORA_OPERATION(dequantise),
    MORA_OPERATION(matmul),
    MORA_OPERATION(matmulInt8),
    MORA_OPERATION(addBias),
    MORA_OPERATION(columnSums),
    MORA_OPERATION(embedding),
    MORA_OPERATION(embeddingBackward),
    MORA_OPERATION(gatherRows),
    MORA_OPERATION(scatterRows),
    MORA_OPERATION(gatherColumns),
    MORA_OPERATION(rmsNorm),
    MORA_OPERATION(rmsNormApply),
    MORA_OPERATION(rmsNormBackward),
    MORA_OPERATION(layerNorm),
    MORA_OPERATION(layerNormApply),
    MORA_OPERATION(layerNormBackward),
    MORA_OPERATION(rope),
    MORA_OPERATION(activation),
    MORA_OPERATION(activationBackward),
    MORA_OPERATION(dropout),
    MORA_OPERATION(attention),
    MORA_OPERATION(attentionBackward),
    MORA_OPERATION(crossEntropy),
    MORA_OPERATION(capLogits),
    MORA_OPERATION(sum),
    MORA_OPERATION(argmax),
    MORA_OPERATION(sample),
    .globalNorm = globalNorm,
    MORA_OPERATION(clipScale),
    .adamw = adamw,
    MORA_OPERATION(countNonFinite),
    MORA_OPERATION(largestDifference),
    MORA_OPERATION(groupSum),
    MORA_OPERATION(groupSpread),
    .foldedSide = cuda::foldedSide,
    MORA_OPERATION(foldBlocks),
    MORA_OPERATION(unfoldBlocks),
    MORA_OPERATION(blocksForward),
    MORA_OPERATION(blocksBackwardInput),
    MORA_OPERATION(blocksBackwardWeight),
    MORA_OPERATION(mergeGroups),
    MORA_OPERATION(mergeBlocks),
    MORA_OPERATION(mergeFactors),
};

}  // namespace
}  // namespace mora

/// The table, or null with a sentence (without its full stop) that says what is missing and how to get it.
extern "C" __attribute__((visibility("default"))) const mora::Backend* moraCudaBackend(char* why, size_t capacity) {
  const std::string missing = mora::cuda::whatIsMissing();
  std::snprintf(why, capacity, "%s", missing.c_str());
  return missing.empty() ? &mora::kCuda : nullptr;
}
