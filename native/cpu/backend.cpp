// The CPU backend's table: every kernel, enqueued on the stream under its own name.
#include "core/backend.h"

#include <omp.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <type_traits>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/stream.h"
#include "cpu/tensor_view.h"

namespace mora {
namespace {

template <size_t N>
struct Name {
  constexpr Name(const char (&text)[N]) { std::copy(text, text + N, value); }
  char value[N];
};

// What the profile shows: bytes of every tensor that takes part, and the arithmetic where products dominate.
double bytesOf(const TensorDesc& tensor) {
  if (!cpu::present(tensor)) return 0;
  const DTypeTraits traits = traitsOf(tensor.dtype);
  return static_cast<double>(cpu::elementsOf(tensor)) / traits.blockSize * traits.blockBytes;
}
template <typename T>
double bytesOf(const T&) {
  return 0;
}

std::string sizes(int64_t m, int64_t n, int64_t k) {
  return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
}

template <typename... Args>
Cost costOf(const Args&... args) {
  Cost cost;
  cost.bytes = (bytesOf(args) + ... + 0.0);
  return cost;
}

Cost matmulCost(const TensorDesc& a, bool transposeA, const TensorDesc& c) {
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const int64_t batch = c.rank == 3 ? c.shape[0] : 1;
  Cost cost;
  cost.flops = 2.0 * static_cast<double>(m * n) * static_cast<double>(k * batch);
  cost.label = sizes(m, n, k);
  return cost;
}

double blockFlops(const BlockPlan& plan, int64_t rows) {
  double flops = 0;
  visitBlockProducts(plan, [&](const BlockProduct& product) {
    flops += 2.0 * static_cast<double>(product.rows * product.depth) * static_cast<double>(product.count * rows);
  });
  return flops;
}

std::string planLabel(const BlockPlan& plan) {
  return std::to_string(plan.inFeatures) + "->" + std::to_string(plan.outFeatures) + " R=" + std::to_string(plan.side);
}

template <Name name, auto kernel>
struct Enqueue;
template <Name name, typename... Args, void (*kernel)(Args...)>
struct Enqueue<name, kernel> {
  static Status call(Stream* stream, Args... args) {
    Cost cost;
    if (stream->profiling()) cost = costOf(args...);
    return stream->enqueue(
        name.value, [=] { kernel(args...); }, std::move(cost));
  }
};

Status matmul(Stream* stream, TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha,
              bool accumulate) {
  Cost cost;
  if (stream->profiling()) {
    cost = matmulCost(a, transposeA, c);
    cost.bytes = bytesOf(a) + bytesOf(b) + bytesOf(c);
  }
  return stream->enqueue(
      "matmul", [=] { cpu::matmul(a, transposeA, b, transposeB, c, alpha, accumulate); }, std::move(cost));
}

template <Name name, auto kernel, typename... Args>
Status enqueueBlocks(Stream* stream, BlockPlan plan, TensorDesc rows, Args... args) {
  Cost cost;
  if (stream->profiling()) {
    cost = costOf(rows, args...);
    cost.flops = blockFlops(plan, rows.shape[0]);
    cost.label = planLabel(plan);
  }
  return stream->enqueue(
      name.value, [=] { kernel(plan, rows, args...); }, std::move(cost));
}

// Pairs of a query and a key that it sees.
double causalPairs(const TensorDesc& queryOffsets, const TensorDesc& keyOffsets) {
  const auto* const query = static_cast<const int32_t*>(queryOffsets.data);
  const auto* const key = static_cast<const int32_t*>(keyOffsets.data);
  double pairs = 0;
  for (int64_t i = 0; i + 1 < cpu::elementsOf(queryOffsets); ++i) {
    const double queries = query[i + 1] - query[i], keys = key[i + 1] - key[i];
    pairs += queries * (keys - queries) + queries * (queries + 1) / 2;
  }
  return pairs;
}

// Each product of the algorithm costs 2 E operations for every pair and head.
void addAttentionFlops(Cost& cost, const TensorDesc& q, const TensorDesc& k, const TensorDesc& queryOffsets,
                       const TensorDesc& keyOffsets, int products) {
  const auto perPair = static_cast<double>(2 * products * q.shape[1] * q.shape[2]);
  cost.flopsOnceRun = [=] { return perPair * causalPairs(queryOffsets, keyOffsets); };
  cost.label =
      "H=" + std::to_string(q.shape[1]) + " K=" + std::to_string(k.shape[1]) + " E=" + std::to_string(q.shape[2]);
}

Status attention(Stream* stream, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets,
                 TensorDesc keyOffsets, float scale, TensorDesc out, TensorDesc lse) {
  Cost cost;
  if (stream->profiling()) {
    cost = costOf(q, k, v, out, lse);
    addAttentionFlops(cost, q, k, queryOffsets, keyOffsets, 2);  // scores, output
  }
  return stream->enqueue(
      "attention", [=] { cpu::attention(q, k, v, queryOffsets, keyOffsets, scale, out, lse); }, std::move(cost));
}

Status attentionBackward(Stream* stream, TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out,
                         TensorDesc lse, TensorDesc queryOffsets, TensorDesc keyOffsets, float scale, TensorDesc dQ,
                         TensorDesc dK, TensorDesc dV) {
  Cost cost;
  if (stream->profiling()) {
    cost = costOf(dOut, q, k, v, out, lse, dQ, dK, dV);
    addAttentionFlops(cost, q, k, queryOffsets, keyOffsets, 5);  // scores again, dV, d(scores), dQ, dK
  }
  return stream->enqueue(
      "attentionBackward",
      [=] { cpu::attentionBackward(dOut, q, k, v, out, lse, queryOffsets, keyOffsets, scale, dQ, dK, dV); },
      std::move(cost));
}

// `passes`: how often the optimizer reads or writes 4 bytes of each element.
Cost costOfList(const std::vector<AdamWTensor>& list, int passes) {
  Cost cost;
  for (const AdamWTensor& tensor : list) cost.bytes += 4.0 * passes * static_cast<double>(tensor.count);
  return cost;
}

Status globalNorm(Stream* stream, const AdamWTensor* tensors, int64_t count, TensorDesc norm) {
  std::vector list(tensors, tensors + count);
  Cost cost = costOfList(list, 1);
  return stream->enqueue(
      "globalNorm",
      [list = std::move(list), norm] { cpu::globalNorm(list.data(), static_cast<int64_t>(list.size()), norm); },
      std::move(cost));
}

Status adamw(Stream* stream, const AdamWTensor* tensors, int64_t count, AdamWStep step, TensorDesc scale) {
  std::vector list(tensors, tensors + count);
  Cost cost = costOfList(list, 7);  // reads all four, writes all but the gradient
  return stream->enqueue(
      "adamw",
      [list = std::move(list), step, scale] {
        cpu::adamw(list.data(), static_cast<int64_t>(list.size()), step, scale);
      },
      std::move(cost));
}

Status copyFromHost(Stream* stream, void* target, const void* host, size_t bytes, void (*done)(void*), void* user) {
  return stream->enqueue("copyFromHost", [=] {
    if (bytes > 0) std::memcpy(target, host, bytes);
    done(user);
  });
}

Status copyToHost(Stream* stream, void* host, const void* source, size_t bytes) {
  return stream->enqueue("copyToHost", [=] {
    if (bytes > 0) std::memcpy(host, source, bytes);
  });
}

Status profileReport(Stream* stream, char* json, size_t capacity, size_t* needed) {
  const std::string report = stream->profileReport();
  *needed = report.size() + 1;
  if (capacity < *needed) return Status::invalidArgument;
  std::memcpy(json, report.c_str(), *needed);
  return Status::ok;
}

std::string cpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "CPU";
}

Status deviceFacts(int32_t, DeviceFacts* facts) {
  std::snprintf(facts->name, sizeof facts->name, "%s", cpuModel().c_str());
  facts->totalMemory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  facts->threads = omp_get_num_procs();
  facts->fastBfloat16 = cpu::hasFastBfloat16() ? 1 : 0;
  std::snprintf(facts->detail, sizeof facts->detail, "%s", cpu::instructionSets().c_str());
  return Status::ok;
}

#define MORA_OPERATION(name) .name = Enqueue<#name, &cpu::name>::call

constexpr Backend kCpu{
    .abi = kBackendAbi,
    .name = "cpu",
    .deviceCount = [] { return int32_t{1}; },
    .deviceFacts = deviceFacts,
    .streamCreate =
        [](int32_t, int32_t threads, Stream** stream) {
          cpu::prepareProducts();
          *stream = new Stream(threads);
          return Status::ok;
        },
    .setThreads =
        [](Stream* stream, int32_t threads) {
          stream->setThreads(threads);
          return Status::ok;
        },
    .queueDepth = [](Stream* stream) { return stream->depth(); },
    .callback = [](Stream* stream, void (*done)(void*, const StreamError*),
                   void* user) { return stream->callback(done, user); },
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
          stream->profile(on);
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
    .blocksForward = enqueueBlocks<"blocksForward", &cpu::blocksForward>,
    .blocksBackwardInput = enqueueBlocks<"blocksBackwardInput", &cpu::blocksBackwardInput>,
    .blocksBackwardWeight = enqueueBlocks<"blocksBackwardWeight", &cpu::blocksBackwardWeight>,
    MORA_OPERATION(mergeGroups),
    MORA_OPERATION(mergeBlocks),
};

}  // namespace

const Backend* cpuBackend() { return &kCpu; }

}  // namespace mora
