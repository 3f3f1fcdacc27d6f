// The CPU backend's table: every kernel is enqueued on the stream under its own name.
#include "core/backend.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "core/operation_cost.h"
#include "core/system/limits.h"
#include "core/system/processor.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/products/matmul.h"
#include "cpu/products/product_library.h"
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
        name.value, [... kept = kept(args)] { kernel(kept...); },
        stream->profile().on() ? costOfCall<name>(args...) : Cost());
  }
};

Status copyFromHost(Stream* stream, void* target, size_t bytes, HostSource source) {
  // The team shares the cost of first writes, for which the system finds pages, and of copies from files.
  constexpr int64_t kPiece = 1 << 20;
  return stream->enqueue("copyFromHost", [=, owned = std::shared_ptr<void>(source.user, source.done)] {
    cpu::parallelRanges(
        static_cast<int64_t>(bytes), 1,
        [&](int64_t begin, int64_t end) {
          const char* const why = source.read(source.user, static_cast<std::byte*>(target) + begin,
                                              static_cast<size_t>(begin), static_cast<size_t>(end - begin));
          if (why) throw std::runtime_error(why);
        },
        kPiece);
  });
}

Status copyToHost(Stream* stream, void* host, const void* source, size_t bytes, void (*done)(void*), void* user) {
  return stream->enqueue("copyToHost", [=, owned = std::shared_ptr<void>(user, done)] {
    if (bytes > 0) std::memcpy(host, source, bytes);
  });
}

Status deviceFacts(int32_t, DeviceFacts* facts) {
  // Every layer asks for it, and virtual machines take long to report the processor's features.
  static const DeviceFacts known = [] {
    DeviceFacts all{};
    std::snprintf(all.name, sizeof all.name, "%s", processorName().c_str());
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

/// Products in 8 bits need special instructions and have no float16.
bool supports(int32_t, Operation operation, const DType* dtypes, int32_t count) {
  if (operation != Operation::matmulInt8) return true;
  return cpu::hasInt8Products() && std::find(dtypes, dtypes + count, DType::f16) == dtypes + count;
}

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
    .setRowsAlone = [](Stream* stream,
                       bool alone) { return stream->enqueue("setRowsAlone", [=] { cpu::setRowsAlone(alone); }); },
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
    .supports = supports,
    .foldedSide = [](SectionPlan plan, DType) { return plan.side; },
#define MORA_OPERATION(name, ...) .name = Enqueue<#name, &cpu::name>::call,
#include "core/operations.def"
};

}  // namespace

const Backend* cpuBackend() { return &kCpu; }

}  // namespace mora
