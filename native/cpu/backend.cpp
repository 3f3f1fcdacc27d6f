// The CPU backend's table: every kernel, enqueued on the stream under its own name.
#include "core/backend.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/operation_cost.h"
#include "core/process_limits.h"
#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/stream.h"
#include "cpu/tensor_view.h"

namespace mora {
namespace {

template <Name name, auto kernel>
struct Enqueue;
template <Name name, typename... Args, void (*kernel)(Args...)>
struct Enqueue<name, kernel> {
  static Status call(Stream* stream, Args... args) {
    return stream->enqueue(
        name.value, [=] { kernel(args...); }, stream->profile().on() ? costOfCall<name>(args...) : Cost());
  }
};

Status globalNorm(Stream* stream, const AdamWTensor* tensors, int64_t count, TensorDesc norm) {
  std::vector list(tensors, tensors + count);
  Cost cost = costOfList(tensors, count, 1);
  return stream->enqueue(
      "globalNorm",
      [list = std::move(list), norm] { cpu::globalNorm(list.data(), static_cast<int64_t>(list.size()), norm); },
      std::move(cost));
}

Status adamw(Stream* stream, const AdamWTensor* tensors, int64_t count, AdamWStep step, TensorDesc scale) {
  std::vector list(tensors, tensors + count);
  Cost cost = costOfList(tensors, count, 7);  // reads all four, writes all but the gradient
  return stream->enqueue(
      "adamw",
      [list = std::move(list), step, scale] {
        cpu::adamw(list.data(), static_cast<int64_t>(list.size()), step, scale);
      },
      std::move(cost));
}

Status copyFromHost(Stream* stream, void* target, size_t bytes, HostSource source) {
  return stream->enqueue("copyFromHost", [=, owned = std::shared_ptr<void>(source.user, source.done)] {
    const char* const why = bytes > 0 ? source.read(source.user, target, 0, bytes) : nullptr;
    if (why) throw std::runtime_error(why);
  });
}

Status copyToHost(Stream* stream, void* host, const void* source, size_t bytes, void (*done)(void*), void* user) {
  return stream->enqueue("copyToHost", [=, owned = std::shared_ptr<void>(user, done)] {
    if (bytes > 0) std::memcpy(host, source, bytes);
  });
}

std::string cpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "CPU";
}

Status deviceFacts(int32_t, DeviceFacts* facts) {
  // Asked for with every layer; virtual machines take long to tell what a processor can do.
  static const DeviceFacts known = [] {
    DeviceFacts all{};
    std::snprintf(all.name, sizeof all.name, "%s", cpuModel().c_str());
    all.totalMemory = availableMemory();
    all.threads = availableProcessors();
    all.fastBfloat16 = cpu::hasFastBfloat16() ? 1 : 0;
    all.int8Products = cpu::hasInt8Products() ? 1 : 0;
    std::snprintf(all.detail, sizeof all.detail, "%s", cpu::instructionSets().c_str());
    return all;
  }();
  *facts = known;
  return Status::ok;
}

#define MORA_OPERATION(name) .name = Enqueue<#name, &cpu::name>::call

constexpr Backend kCpu{
    .abi = kBackendAbi,
    .name = "cpu",
    .deviceCount = [] { return int32_t{1}; },
    .deviceFacts = deviceFacts,
    .streamCreate =
        [](int32_t, int32_t threads, Stream** stream, char*, size_t) {
          cpu::prepareProducts();
          *stream = new Stream(threads);
          return Status::ok;
        },
    .setThreads =
        [](Stream* stream, int32_t threads) {
          stream->setThreads(threads);
          return Status::ok;
        },
    .setAllowTf32 = [](Stream*, bool) { return Status::ok; },
    .queueDepth = [](Stream* stream) { return stream->depth(); },
    .callback = [](Stream* stream, void (*done)(void*, const StreamError*),
                   void* user) { return stream->callback(done, user); },
    .failure = [](Stream*) { return StreamError{}; },
    .shutdown = [](Stream* stream) { stream->shutdown(); },
    .allocate = [](Stream* stream, size_t bytes, void** data) { return stream->allocate(bytes, data); },
    .release = [](Stream* stream, void* data) { stream->release(data); },
    .memoryFigures = [](Stream* stream, MemoryFigures* figures) { *figures = stream->memoryFigures(); },
    .setMemoryLimit = [](Stream* stream, uint64_t bytes) { stream->setMemoryLimit(bytes); },
    .resetPeak = [](Stream* stream) { stream->resetPeak(); },
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
    .foldedSide = [](BlockPlan plan, DType) { return plan.side; },
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

const Backend* cpuBackend() { return &kCpu; }

}  // namespace mora
