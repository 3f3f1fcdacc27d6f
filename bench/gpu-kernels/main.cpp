// Times kernels of the CUDA backend.
//
//   gpu_kernel_bench                                   lists what can be timed
//   gpu_kernel_bench attention rmsNorm [--repeats 20]  times what begins like that; `all` is everything
//
// --tiny takes a shape for the emulator, where times say nothing. Ends with 1 where a kernel fails, with 2 where there
// is nothing to time.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cases.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/devices.h"

using namespace mora;
using namespace mora::bench;

namespace {

struct Options {
  std::vector<std::string_view> wanted;
  int repeats = 20;
  bool tiny = false;
};

Options optionsOf(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--tiny")
      options.tiny = true;
    else if (argument == "--repeats" && i + 1 < count && std::atoi(arguments[i + 1]) > 0)
      options.repeats = std::atoi(arguments[++i]);
    else if (argument.starts_with("--"))
      throw std::invalid_argument("Expected --tiny or --repeats N but received " + std::string(argument) + ".");
    else
      options.wanted.push_back(argument);
  }
  return options;
}

std::vector<Case> allCases() {
  std::vector<Case> all;
  for (const auto& cases : {rowCases(), attentionCases(), lossCases(), adapterCases()})
    all.insert(all.end(), cases.begin(), cases.end());
  return all;
}

bool wants(const Options& options, const std::string& operation) {
  return std::any_of(options.wanted.begin(), options.wanted.end(),
                     [&](std::string_view name) { return name == "all" || operation.starts_with(name); });
}

/// Whether a case, which may be several operations that begin alike, has one that is wanted.
bool mayHave(const Options& options, const Case& one) {
  const std::string_view common = one.operation;
  return wants(options, one.operation) || std::any_of(options.wanted.begin(), options.wanted.end(),
                                                      [&](std::string_view name) { return name.starts_with(common); });
}

void time(const Options& options) {
  int device = 0;
  cuda::check(cudaGetDevice(&device), "asking for the device");
  cudaDeviceProp properties;
  cuda::check(cudaGetDeviceProperties(&properties, device), "asking for the device's measures");
  const Roofline roofline = rooflineOf(device);
  std::printf("%s, at best %.0f GB/s and %.1f TFLOP/s in bfloat16 by its clocks; medians of %d, caches cold\n",
              properties.name, roofline.bytesPerSecond / 1e9, roofline.bfloat16FlopsPerSecond / 1e12, options.repeats);
  const auto wanted = [&](const std::string& operation) { return wants(options, operation); };
  Bench bench(wanted, roofline, options.repeats, options.tiny ? 4096 : 4 * static_cast<size_t>(properties.l2CacheSize));
  Bench::printHeader();
  const std::span<const Shape> shapes = options.tiny ? std::span(kTinyShapes) : std::span<const Shape>(kShapes);
  for (const Case& one : allCases())
    if (mayHave(options, one))
      for (const Shape& shape : shapes) one.run(bench, shape);
  if (bench.timed() == 0)
    throw std::invalid_argument("Expected the beginning of an operation; without arguments they are listed.");
}

}  // namespace

std::string mora::bench::describe(const Shape& shape, std::initializer_list<int64_t> sizes, const char* more) {
  std::string text = shape.model;
  char separator = ' ';
  for (const int64_t size : sizes) {
    text += separator + std::to_string(size);
    separator = 'x';
  }
  return *more ? text + " " + more : text;
}

int main(int count, char** arguments) {
  try {
    const Options options = optionsOf(count, arguments);
    if (options.wanted.empty()) {
      for (const Case& one : allCases()) std::puts(one.operation);
      return 0;
    }
    if (const Absence& missing = cuda::whatIsMissing(); missing)
      throw std::invalid_argument("Nothing can be timed here: " + missing.text() + ".");
    time(options);
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
