// The CUDA backend's table: every launcher, enqueued on the stream under its own name; and the one function that this
// library exports.
#include "core/backend.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <vector>

#include "cuda/devices.h"
#include "cuda/kernels.h"
#include "cuda/offsets.h"
#include "cuda/stream.h"

namespace mora {
namespace {

using cuda::Context;

template <size_t N>
struct Name {
  constexpr Name(const char (&text)[N]) { std::copy(text, text + N, value); }
  char value[N];
};

template <Name name, auto kernel>
struct Enqueue;
template <Name name, typename... Args, void (*kernel)(Context&, Args...)>
struct Enqueue<name, kernel> {
  static Status call(Stream* stream, Args... args) {
    Cost cost;
    if (stream->profile().on()) cost = costOf(args...);
    return stream->enqueue(
        name.value, [=](Context& context) { kernel(context, args...); }, std::move(cost));
  }
};

Status matmul(Stream* stream, TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha,
              bool accumulate) {
  Cost cost;
  if (stream->profile().on()) cost = matmulCost(a, transposeA, b, c);
  return stream->enqueue(
      "matmul", [=](Context& context) { cuda::matmul(context, a, transposeA, b, transposeB, c, alpha, accumulate); },
      std::move(cost));
}

template <Name name, auto kernel, typename... Args>
Status enqueueBlocks(Stream* stream, BlockPlan plan, TensorDesc rows, Args... args) {
  Cost cost;
  if (stream->profile().on()) {
    cost = costOf(rows, args...);
    addBlocks(cost, plan, rows.shape[0]);
  }
  return stream->enqueue(
      name.value, [=](Context& context) { kernel(context, plan, rows, args...); }, std::move(cost));
}

Status attention(Stream* stream, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets,
                 TensorDesc keyOffsets, float scale, TensorDesc out, TensorDesc lse) {
  Cost cost;
  if (stream->profile().on()) {
    cost = costOf(q, k, v, out, lse);
    addAttention(cost, q, k, queryOffsets, keyOffsets, 2);  // scores, output
  }
  return stream->enqueue(
      "attention",
      [=](Context& context) {
        cuda::requireOffsets(context, queryOffsets, keyOffsets, q.shape[0], k.shape[0]);
        cuda::attention(context, q, k, v, queryOffsets, keyOffsets, scale, out, lse);
      },
      std::move(cost));
}

Status attentionBackward(Stream* stream, TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out,
                         TensorDesc lse, TensorDesc queryOffsets, TensorDesc keyOffsets, float scale, TensorDesc dQ,
                         TensorDesc dK, TensorDesc dV) {
  Cost cost;
  if (stream->profile().on()) {
    cost = costOf(dOut, q, k, v, out, lse, dQ, dK, dV);
    addAttention(cost, q, k, queryOffsets, keyOffsets, 5);  // scores again, dV, d(scores), dQ, dK
  }
  return stream->enqueue(
      "attentionBackward",
      [=](Context& context) {
        cuda::attentionBackward(context, dOut, q, k, v, out, lse, queryOffsets, keyOffsets, scale, dQ, dK, dV);
      },
      std::move(cost));
}

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

Status copyFromHost(Stream* stream, void* target, const void* host, size_t bytes, void (*done)(void*), void* user) {
  return stream->enqueue("copyFromHost", [=](Context& context) {
    // The host memory is let go of even if the copy fails.
    const std::unique_ptr<void, void (*)(void*)> owned(user, done);
    copyToDevice(context, target, host, bytes);
  });
}

Status copyToHost(Stream* stream, void* host, const void* source, size_t bytes) {
  return stream->enqueue("copyToHost", [=](Context& context) { copyToHost(context, host, source, bytes); });
}

Status profileReport(Stream* stream, char* json, size_t capacity, size_t* needed) {
  const std::string report = stream->profile().report();
  *needed = report.size() + 1;
  if (capacity < *needed) return Status::invalidArgument;
  std::memcpy(json, report.c_str(), *needed);
  return Status::ok;
}

Status streamCreate(int32_t device, int32_t, Stream** stream) {
  try {
    *stream = new Stream(cuda::runtimeIndex(device), cuda::cublas());
    return Status::ok;
  } catch (const std::bad_alloc&) {
    return Status::outOfMemory;
  } catch (const std::exception&) {
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
    .queueDepth = [](Stream* stream) { return stream->depth(); },
    .callback = [](Stream* stream, void (*done)(void*, const StreamError*),
                   void* user) { return stream->callback(done, user); },
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
    .profileReport = profileReport,
    MORA_OPERATION(fill),
    MORA_OPERATION(copy),
    MORA_OPERATION(add),
    MORA_OPERATION(dequantise),
    .matmul = matmul,
    MORA_OPERATION(addBias),
    MORA_OPERATION(columnSums),
    MORA_OPERATION(embedding),
    MORA_OPERATION(embeddingBackward),
    MORA_OPERATION(gatherRows),
    MORA_OPERATION(scatterRows),
    MORA_OPERATION(rmsNorm),
    MORA_OPERATION(rmsNormApply),
    MORA_OPERATION(rmsNormBackward),
    MORA_OPERATION(rope),
    MORA_OPERATION(swiglu),
    MORA_OPERATION(swigluBackward),
    MORA_OPERATION(dropout),
    .attention = attention,
    .attentionBackward = attentionBackward,
    MORA_OPERATION(crossEntropy),
    MORA_OPERATION(sum),
    .globalNorm = globalNorm,
    MORA_OPERATION(clipScale),
    .adamw = adamw,
    MORA_OPERATION(countNonFinite),
    MORA_OPERATION(groupSum),
    MORA_OPERATION(groupSpread),
    MORA_OPERATION(foldBlocks),
    MORA_OPERATION(unfoldBlocks),
    .blocksForward = enqueueBlocks<"blocksForward", &cuda::blocksForward>,
    .blocksBackwardInput = enqueueBlocks<"blocksBackwardInput", &cuda::blocksBackwardInput>,
    .blocksBackwardWeight = enqueueBlocks<"blocksBackwardWeight", &cuda::blocksBackwardWeight>,
    MORA_OPERATION(mergeGroups),
    MORA_OPERATION(mergeBlocks),
};

}  // namespace
}  // namespace mora

/// The table, or null with a sentence (without its full stop) that says what is missing and how to get it.
extern "C" __attribute__((visibility("default"))) const mora::Backend* moraCudaBackend(char* why, size_t capacity) {
  const std::string missing = mora::cuda::whatIsMissing();
  std::snprintf(why, capacity, "%s", missing.c_str());
  return missing.empty() ? &mora::kCuda : nullptr;
}
