// Planted faults: `simt_faults NAME` commits one of them. Those that the emulator must detect end the process with a
// sentence; those that it turns into wrong results print these. `clean` commits none and must pass in every build.
// test/simt/faults.test.ts says what each is expected to do.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "simt/faults/kernels.h"

using mora::cuda::launch;

namespace planted {

namespace {

constexpr int kBlocks = 6, kElements = kBlocks * static_cast<int>(kThreads);

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorName(error));
  std::exit(3);
}

float* deviceMemory(int elements = kElements) {
  float* memory = nullptr;
  require(cudaMalloc(&memory, elements * sizeof(float)), "cudaMalloc");
  return memory;
}

float* deviceOnes() {
  float* memory = deviceMemory();
  const std::vector<float> ones(kElements, 1.0f);
  require(cudaMemcpy(memory, ones.data(), kElements * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  return memory;
}

std::vector<float> read(const float* memory, int elements = kElements) {
  require(cudaGetLastError(), "launch");
  std::vector<float> values(elements);
  require(cudaMemcpy(values.data(), memory, elements * sizeof(float), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return values;
}

bool all(const std::vector<float>& values, float expected) {
  for (const float value : values)
    if (value != expected) return false;
  return true;
}

template <Barrier kind>
void barrier() {
  float *x = deviceOnes(), *y = deviceMemory();
  launch(blockSums<kind>, kBlocks, kThreads, 0, nullptr, x, y);
  std::printf("sums are %s\n", all(read(y), kThreads) ? "right" : "wrong");
}

/// 0, 1, 2, ...
float* deviceNumbers(int elements) {
  float* memory = deviceMemory(elements);
  std::vector<float> numbers(elements);
  std::iota(numbers.begin(), numbers.end(), 0.0f);
  require(cudaMemcpy(memory, numbers.data(), elements * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  return memory;
}

template <bool removed>
void barrierInLoop() {
  constexpr int kRounds = 5, kThreadCount = static_cast<int>(kThreads);
  float *x = deviceNumbers(kElements), *y = deviceMemory();
  launch(rotateRow<removed>, kBlocks, kThreads, 0, nullptr, x, y, kRounds);
  const std::vector<float> rows = read(y);
  bool right = true;
  for (int i = 0; i < kElements; ++i)
    right &= rows[i] == static_cast<float>(i / kThreadCount * kThreadCount + (i + kRounds) % kThreadCount);
  std::printf("rows are %s\n", right ? "right" : "wrong");
}

template <Copy kind>
void asynchronousCopies(int fewer = 0) {
  constexpr int kCount = 2 * static_cast<int>(kThreads);
  float *x = deviceNumbers(kCount - fewer), *y = deviceMemory(kCount);
  launch(copyRows<kind>, 1, kThreads, 0, nullptr, x, y);
  const std::vector<float> copies = read(y, kCount);
  int missing = 0;
  for (int i = 0; i < kCount; ++i) missing += copies[i] != static_cast<float>(i);
  std::printf("%d of %d copies are missing\n", missing, kCount);
}

template <bool barrier>
void warpMeets() {
  float* y = deviceMemory();
  launch(swapNeighbours<barrier>, 1, kThreads, 0, nullptr, y);
  read(y, kThreads);
}

void twoWriters(bool overlap) {
  float* y = deviceMemory();
  launch(writeOnes, kBlocks, kThreads, 0, nullptr, y, overlap);
  read(y);
}

template <bool fence>
void blocksMeet() {
  float *y = deviceMemory(), *total = deviceMemory(1);
  unsigned* arrived = nullptr;
  require(cudaMalloc(&arrived, sizeof *arrived), "cudaMalloc");
  require(cudaMemset(arrived, 0, sizeof *arrived), "cudaMemset");
  launch(addBlocks<fence>, kBlocks, kThreads, 0, nullptr, y, arrived, total);
  std::printf("total is %s\n", all(read(total, 1), kBlocks) ? "right" : "wrong");
}

void copyAt(int offset, int elements) {
  float *x = deviceMemory(elements), *y = deviceMemory();
  require(cudaMemset(x, 0, elements * sizeof(float)), "cudaMemset");
  launch(copyFrom<float>, 1, kThreads, 0, nullptr, x, y, offset);
  read(y, kThreads);
}

void misaligned(int offset) {
  float *x = deviceOnes(), *y = deviceMemory();
  launch(copyFrom<float4>, 1, kThreads, 0, nullptr, x, y, offset);
  read(y, kThreads);
}

void sharedBounds(int offset) {
  float* y = deviceMemory();
  launch(writeShared, 1, kThreads, 0, nullptr, y, offset);
  read(y, kThreads);
}

void hostAccess() {
  float* x = deviceOnes();
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  std::printf("read %g\n", static_cast<double>(*static_cast<volatile float*>(x)));
}

void freedMemory() {
  float *x = deviceOnes(), *y = deviceMemory();
  require(cudaFree(x), "cudaFree");
  launch(copyFrom<float>, 1, kThreads, 0, nullptr, x, y, 0);
  read(y, kThreads);
}

void unwrittenMemory() {
  float *x = deviceMemory(), *y = deviceMemory();
  launch(copyFrom<float>, 1, kThreads, 0, nullptr, x, y, 0);
  int notNumbers = 0;
  for (const float value : read(y, kThreads)) notNumbers += std::isnan(value);
  launch(readUnwrittenShared, 1, kThreads, kThreads * sizeof(float), nullptr, y);
  for (const float value : read(y, kThreads)) notNumbers += std::isnan(value);
  std::printf("%d of %u are not numbers\n", notNumbers, 2 * kThreads);
}

/// One stream writes, another copies: returns how many of 100 copies miss what was written.
int missedWrites(bool dependency) {
  cudaStream_t writer, reader;
  cudaEvent_t written;
  require(cudaStreamCreateWithFlags(&writer, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  require(cudaStreamCreateWithFlags(&reader, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  require(cudaEventCreateWithFlags(&written, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  float *x = deviceMemory(), *y = deviceMemory();
  int missed = 0;
  for (int round = 0; round < 100; ++round) {
    require(cudaMemset(x, 0, kElements * sizeof(float)), "cudaMemset");
    launch(writeOnes, kBlocks, kThreads, 0, writer, x, false);
    require(cudaEventRecord(written, writer), "cudaEventRecord");
    if (dependency) require(cudaStreamWaitEvent(reader, written), "cudaStreamWaitEvent");
    launch(copyFrom<float>, 1, kThreads, 0, reader, x, y, 0);
    require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    missed += !all(read(y, kThreads), 1);
  }
  require(cudaStreamDestroy(writer), "cudaStreamDestroy");
  require(cudaStreamDestroy(reader), "cudaStreamDestroy");
  require(cudaEventDestroy(written), "cudaEventDestroy");
  return missed;
}

/// Reads page-locked memory without waiting for the copy: returns how many of 100 reads are too early.
int earlyReads(bool wait) {
  float* x = deviceOnes();
  float* host = nullptr;
  require(cudaMallocHost(&host, sizeof(float)), "cudaMallocHost");
  int early = 0;
  for (int round = 0; round < 100; ++round) {
    *host = 0;
    require(cudaMemcpyAsync(host, x, sizeof(float), cudaMemcpyDeviceToHost, nullptr), "cudaMemcpyAsync");
    if (wait) require(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
    early += *static_cast<volatile float*>(host) != 1;
    require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  require(cudaFreeHost(host), "cudaFreeHost");
  return early;
}

void launchLimits() {
  float* y = deviceMemory();
  const auto report = [](const char* what) { std::printf("%s: %s\n", what, cudaGetErrorName(cudaGetLastError())); };
  launch(writeOnes, 1, 1025, 0, nullptr, y, false);
  report("1025 threads");
  launch(writeOnes, 0, kThreads, 0, nullptr, y, false);
  report("no blocks");
  launch(writeOnes, dim3(1, 65536), kThreads, 0, nullptr, y, false);
  report("65536 blocks in y");
  launch(readUnwrittenShared, 1, kThreads, 49153, nullptr, y);
  report("49153 shared bytes");
  report(cudaFuncSetAttribute(readUnwrittenShared, cudaFuncAttributeMaxDynamicSharedMemorySize, 232449)
             ? "opt-in to 232449 shared bytes refused"
             : "opt-in to 232449 shared bytes granted");
  require(cudaFuncSetAttribute(readUnwrittenShared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100000), "opt-in");
  launch(readUnwrittenShared, 1, kThreads, 100000, nullptr, y);
  report("100000 shared bytes after opt-in");
}

void outOfMemory() {
  float* large = nullptr;
  std::printf("too much: %s\n", cudaGetErrorName(cudaMalloc(&large, size_t{1} << 50)));
  size_t before = 0, during = 0, after = 0, total = 0;
  require(cudaGetLastError() == cudaErrorMemoryAllocation ? cudaSuccess : cudaErrorUnknown, "error state");
  require(cudaMemGetInfo(&before, &total), "cudaMemGetInfo");
  float* memory = deviceMemory();
  require(cudaMemGetInfo(&during, &total), "cudaMemGetInfo");
  require(cudaFree(memory), "cudaFree");
  require(cudaMemGetInfo(&after, &total), "cudaMemGetInfo");
  std::printf("memory is %s\n", before == after && before - during == kElements * sizeof(float) ? "counted" : "lost");
}

void clean() {
  barrier<Barrier::right>();
  barrierInLoop<false>();
  asynchronousCopies<Copy::right>();
  warpMeets<true>();
  twoWriters(false);
  copyAt(0, kThreads);
  misaligned(4);
  sharedBounds(0);
  blocksMeet<true>();
  std::printf("missed %d, early %d\n", missedWrites(true), earlyReads(true));
}

struct Fault {
  const char* name;
  void (*commit)();
};

constexpr Fault kFaults[] = {
    {"clean", clean},
    {"barrierLeftOut", barrier<Barrier::leftOut>},
    {"barrierRemoved", barrier<Barrier::removed>},
    {"barrierInTwoPlaces", barrier<Barrier::twoPlaces>},
    {"barrierRemovedInLoop", barrierInLoop<true>},
    {"shuffleForBarrier", warpMeets<false>},
    {"copyNotAwaited", [] { asynchronousCopies<Copy::notAwaited>(); }},
    {"copyWithoutBarrier", [] { asynchronousCopies<Copy::noBarrier>(); }},
    {"copyIntoUse", [] { asynchronousCopies<Copy::intoUse>(); }},
    {"copyMisaligned", [] { asynchronousCopies<Copy::misaligned>(); }},
    {"copyOutOfBounds", [] { asynchronousCopies<Copy::right>(4); }},
    {"shuffleOfHalfAWarp",
     [] {
       float* y = deviceMemory();
       launch(shuffleHalf, 1, kThreads, 0, nullptr, y);
       read(y);
     }},
    {"twoWriters", [] { twoWriters(true); }},
    {"noFence", blocksMeet<false>},
    {"justOutOfBounds", [] { copyAt(1, kThreads - 1); }},
    {"farOutOfBounds", [] { copyAt(4096, kThreads); }},
    {"sharedOutOfBounds", [] { sharedBounds(kThreads); }},
    {"misaligned", [] { misaligned(1); }},
    {"hostAccess", hostAccess},
    {"freedMemory", freedMemory},
    {"unwrittenMemory", unwrittenMemory},
    {"noDependency", [] { std::printf("missed %d\n", missedWrites(false)); }},
    {"noWait", [] { std::printf("early %d\n", earlyReads(false)); }},
    {"launchLimits", launchLimits},
    {"outOfMemory", outOfMemory},
};

}  // namespace

}  // namespace planted

int main(int count, char** arguments) {
  for (const auto& fault : planted::kFaults)
    if (count == 2 && std::strcmp(arguments[1], fault.name) == 0) {
      fault.commit();
      return 0;
    }
  std::fprintf(stderr, "usage: simt_faults NAME\n");
  return 2;
}
