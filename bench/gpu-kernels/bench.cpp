#include "bench.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/products/products.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/devices.h"

namespace mora::bench {

using cuda::check;

namespace {

int attributeOf(int device, cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for the device's measures");
  return value;
}

/// Dense products of bfloat16 with sums in f32, as NVIDIA's architecture papers give them.
int flopsPerClock(int capability) {
  switch (capability) {
    case 80:
      return 2048;
    case 86:
    case 89:
    case 120:
      return 1024;
    case 90:
      return 4096;
    case 100:
    case 103:
      return 8192;
    default:
      return 0;
  }
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "an event"); }
  double secondsSince(const Event& start) const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "the time between events");
    return milliseconds / 1e3;
  }

 private:
  cudaEvent_t event_;
};

std::string rate(double amount, double seconds, double unit) {
  if (amount == 0 || seconds <= 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", amount / seconds / unit);
  return text;
}

}  // namespace

double Roofline::seconds(const cuda::LaunchCost& cost) const {
  const auto least = [](uint64_t amount, double perSecond) {
    return perSecond > 0 ? static_cast<double>(amount) / perSecond : 0;
  };
  return std::max(least(cost.bytes, bytesPerSecond), least(cost.flops, bfloat16FlopsPerSecond));
}

Roofline rooflineOf(int device) {
  const double kilo = 1e3, memoryClock = kilo * attributeOf(device, cudaDevAttrMemoryClockRate);
  const double bytesPerClock = 2.0 * attributeOf(device, cudaDevAttrGlobalMemoryBusWidth) / 8;  // both edges
  const int capability = 10 * attributeOf(device, cudaDevAttrComputeCapabilityMajor) +
                         attributeOf(device, cudaDevAttrComputeCapabilityMinor);
  const double clocks =
      kilo * attributeOf(device, cudaDevAttrClockRate) * attributeOf(device, cudaDevAttrMultiProcessorCount);
  return {memoryClock * bytesPerClock, clocks * flopsPerClock(capability)};
}

Bench::Bench(std::function<bool(const std::string&)> wants, const Roofline& roofline, int repeats, size_t evictedBytes)
    : wants_(std::move(wants)), roofline_(roofline), repeats_(repeats) {
  const auto count = static_cast<int64_t>(evictedBytes / sizeof(float));
  other_ = {nullptr, DType::f32, 1, {count}, {1}};
  count_ = {nullptr, DType::i32, 1, {1}, {1}};
  check(cudaMalloc(&other_.data, evictedBytes), "memory to read between runs");
  check(cudaMalloc(&count_.data, sizeof(int32_t)), "memory to read between runs");
  check(cudaMemset(other_.data, 0, evictedBytes), "memory to read between runs");
  void* workspace = nullptr;
  check(cudaMalloc(&workspace, cuda::Products::kWorkspace), "a workspace for products");
  const cuda::CublasSession cublas = cuda::startCublas();
  test_.context.products = new cuda::Products(cublas.table, cublas.handle, test_.context.stream, workspace);
}

Bench::~Bench() {
  cudaDeviceSynchronize();
  cudaFree(other_.data);
  cudaFree(count_.data);
}

void Bench::evict() { cuda::countNonFinite(test_.context, other_, count_, false); }

void Bench::printHeader() {
  std::printf("%-22s %-34s %10s %10s %9s %9s %9s\n", "operation", "shape", "us", "least us", "GB/s", "TFLOP/s",
              "of best");
}

void Bench::time(const std::string& operation, const std::string& shape,
                 const std::function<void(cuda::Context&)>& launch) {
  if (!wants_(operation)) return;
  ++timed_;
  cudaStream_t stream = test_.context.stream;
  cuda::launchCost = {};
  launch(test_.context);
  const cuda::LaunchCost cost = cuda::launchCost;

  // The reading in between takes longer than enqueuing, so that the host is ahead and the events bound kernels alone.
  std::vector<Event> starts(static_cast<size_t>(repeats_)), ends(static_cast<size_t>(repeats_));
  for (size_t i = 0; i < starts.size(); ++i) {
    evict();
    starts[i].record(stream);
    launch(test_.context);
    ends[i].record(stream);
  }
  check(cudaStreamSynchronize(stream), operation.c_str());
  if (const cuda::DeviceReport report = test_.takeReport(); report.operation != 0)
    throw Error("invalid-argument", operation + " found " + std::to_string(report.value) + " among its indices, not " +
                                        "below " + std::to_string(report.limit) + ".");

  std::vector<double> seconds;
  for (size_t i = 0; i < starts.size(); ++i) seconds.push_back(ends[i].secondsSince(starts[i]));
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2], best = roofline_.seconds(cost);
  char share[16] = "-";
  if (best > 0 && median > 0) std::snprintf(share, sizeof share, "%.0f %%", 100 * best / median);
  std::printf("%-22s %-34s %10.1f %10.1f %9s %9s %9s\n", operation.c_str(), shape.c_str(), median * 1e6,
              seconds.front() * 1e6, rate(static_cast<double>(cost.bytes), median, 1e9).c_str(),
              rate(static_cast<double>(cost.flops), median, 1e12).c_str(), share);
  std::fflush(stdout);
}

}  // namespace mora::bench
