// Shared by the tests of CUDA kernels: a stream and context for launchers, tensors in device memory of any layout, and
// comparisons with float64. Runs on a GPU or on the emulator, depending on the program it is linked into.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/device_code.h"
#include "cuda/runtime/context.h"
#include "cuda_context.h"

namespace mora::test {

using Values = std::vector<double>;

inline const DType kFloats[] = {DType::f32, DType::bf16, DType::f16};

inline void succeed(cudaError_t error) { CHECK(error == cudaSuccess); }

/// `value` rounded to the type.
inline double rounded(DType type, double value) {
  const float single = static_cast<float>(value);
  if (type == DType::bf16) return __bfloat162float(__float2bfloat16_rn(single));
  if (type == DType::f16) return __half2float(__float2half_rn(single));
  return type == DType::f32 ? single : std::trunc(value);
}

/// The layout of elements: `offset` elements before the first, `padding` between neighbours of every dimension but the
/// last.
struct Layout {
  int64_t offset, padding;
};

/// Contiguous; with gaps but aligned for vectors; aligned for single elements only.
inline const Layout kLayouts[] = {{0, 0}, {8, 16}, {1, 3}};

/// A tensor in device memory with a margin of zero bits around every row, which must not change.
class DeviceTensor {
 public:
  DeviceTensor(DType type, const std::vector<int64_t>& shape, const Values& values, Layout layout = {0, 0}) {
    desc_.dtype = type;
    desc_.rank = static_cast<int32_t>(shape.size());
    int64_t stride = 1;
    for (int32_t d = desc_.rank - 1; d >= 0; --d) {
      desc_.shape[d] = shape[static_cast<size_t>(d)];
      desc_.strides[d] = stride;
      stride = stride * desc_.shape[d] + layout.padding;
    }
    offset_ = layout.offset;
    bytes_ = static_cast<size_t>(offset_ + stride + 1) * elementBytes();
    succeed(cudaMalloc(&memory_, bytes_));
    desc_.data = static_cast<std::byte*>(memory_) + static_cast<size_t>(offset_) * elementBytes();
    set(values);
  }
  ~DeviceTensor() { cudaFree(memory_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  const TensorDesc& desc() const { return desc_; }
  operator TensorDesc() const { return desc_; }

  void set(const Values& values) const {
    std::vector<std::byte> host(bytes_, std::byte{0});
    size_t i = 0;
    forElements([&](size_t at) { write(host.data() + at * elementBytes(), values[i++]); });
    CHECK(i == values.size());
    succeed(cudaDeviceSynchronize());  // the previous elements may still be in use
    succeed(cudaMemcpy(memory_, host.data(), bytes_, cudaMemcpyHostToDevice));
  }

  /// The elements, after everything enqueued; checks that nothing was written around them.
  Values get() const {
    std::vector<std::byte> host(bytes_);
    succeed(cudaDeviceSynchronize());
    succeed(cudaMemcpy(host.data(), memory_, bytes_, cudaMemcpyDeviceToHost));
    Values values;
    forElements([&](size_t at) {
      std::byte* const element = host.data() + at * elementBytes();
      values.push_back(read(element));
      std::memset(element, 0, elementBytes());
    });
    CHECK(std::all_of(host.begin(), host.end(), [](std::byte byte) { return byte == std::byte{0}; }));
    return values;
  }

 private:
  size_t elementBytes() const { return static_cast<size_t>(traitsOf(desc_.dtype).blockBytes); }

  template <typename Visit>
  void forElements(Visit&& visit) const {
    int64_t count = 1;
    for (int32_t d = 0; d < desc_.rank; ++d) count *= desc_.shape[d];
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, at = offset_;
      for (int32_t d = desc_.rank - 1; d >= 0; --d) {
        at += rest % desc_.shape[d] * desc_.strides[d];
        rest /= desc_.shape[d];
      }
      visit(static_cast<size_t>(at));
    }
  }

  void write(std::byte* to, double value) const {
    const auto put = [to](auto element) { std::memcpy(to, &element, sizeof(element)); };
    if (desc_.dtype == DType::f32) put(static_cast<float>(value));
    if (desc_.dtype == DType::bf16) put(__float2bfloat16_rn(static_cast<float>(value)));
    if (desc_.dtype == DType::f16) put(__float2half_rn(static_cast<float>(value)));
    if (desc_.dtype == DType::i32) put(static_cast<int32_t>(value));
    if (desc_.dtype == DType::i64) put(static_cast<int64_t>(value));
    if (desc_.dtype == DType::u8) put(static_cast<uint8_t>(value));
  }

  double read(const std::byte* from) const {
    const auto take = [from](auto element) {
      std::memcpy(&element, from, sizeof(element));
      return element;
    };
    if (desc_.dtype == DType::bf16) return __bfloat162float(take(__nv_bfloat16{}));
    if (desc_.dtype == DType::f16) return __half2float(take(__half{}));
    if (desc_.dtype == DType::i32) return take(int32_t{});
    if (desc_.dtype == DType::i64) return static_cast<double>(take(int64_t{}));
    if (desc_.dtype == DType::u8) return take(uint8_t{});
    return take(float{});
  }

  TensorDesc desc_{};
  int64_t offset_;
  size_t bytes_;
  void* memory_;
};

/// Normal numbers rounded to the type; the same for the same seed.
inline Values normal(DType type, int64_t count, unsigned seed, double deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> distribution(0, deviation);
  Values values(static_cast<size_t>(count));
  for (double& value : values) value = rounded(type, distribution(generator));
  return values;
}

/// Integers in [0, limit).
inline Values integers(int64_t count, int64_t limit, unsigned seed) {
  std::mt19937 generator(seed);
  Values values(static_cast<size_t>(count));
  for (double& value : values) value = static_cast<double>(generator() % static_cast<uint64_t>(limit));
  return values;
}

/// Checks values: each may be off by one rounding of the type (for f16 also by its smallest number) plus `slack` times
/// the largest magnitude, of the expected values or the one given, for f32 arithmetic in between.
inline bool close(const std::string& what, DType type, const Values& actual, const Values& expected,
                  double slack = 1e-6, double largest = 0) {
  const double rounding = type == DType::bf16 ? 0x1p-8 : type == DType::f16 ? 0x1p-11 : 0x1p-24;
  const double underflow = type == DType::f16 ? 0x1p-24 : 0;
  for (const double value : expected)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  if (actual.size() != expected.size()) {
    std::fprintf(stderr, "%s: %zu values where %zu were expected\n", what.c_str(), actual.size(), expected.size());
    return false;
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const double bound = rounding * std::abs(expected[i]) + slack * largest + underflow;
    if (std::abs(actual[i] - expected[i]) <= bound || actual[i] == expected[i]) continue;
    if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
    std::fprintf(stderr, "%s, %s: element %zu is %.9g, expected %.9g\n", what.c_str(), traitsOf(type).name, i,
                 actual[i], expected[i]);
    return false;
  }
  return true;
}

}  // namespace mora::test
