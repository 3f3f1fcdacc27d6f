#include "operands.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/descriptor.h"
#include "cuda/runtime/check.h"

namespace mora::bench {

using cuda::check;

namespace {

/// Small numbers of both signs; of a block format, any bytes do.
std::vector<std::byte> patternOf(DType dtype, size_t bytes) {
  std::vector<std::byte> pattern(bytes);
  uint32_t state = 1;
  const auto put = [&](size_t width, auto valueOf) {
    for (size_t at = 0; at + width <= bytes; at += width) {
      state = state * 1664525 + 1013904223;
      const auto value = valueOf(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f);
      std::memcpy(pattern.data() + at, &value, width);
    }
  };
  const auto bfloat16 = [](float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); };
  if (dtype == DType::f32)
    put(4, [](float value) { return value; });
  else
    put(2, bfloat16);
  return pattern;
}

}  // namespace

Operands::~Operands() {
  cudaDeviceSynchronize();
  for (void* const address : memory_) cudaFree(address);
}

TensorDesc Operands::empty(DType dtype, const std::vector<int64_t>& shape) {
  TensorDesc tensor{nullptr, dtype, static_cast<int32_t>(shape.size()), {}, {}};
  int64_t stride = 1;
  for (int32_t d = tensor.rank - 1; d >= 0; --d) {
    tensor.shape[d] = shape[static_cast<size_t>(d)];
    tensor.strides[d] = stride;
    stride *= tensor.shape[d];
  }
  check(cudaMalloc(&tensor.data, bytesFor(dtype, stride)), "memory for an operand");
  memory_.push_back(tensor.data);
  return tensor;
}

TensorDesc Operands::zeros(DType dtype, const std::vector<int64_t>& shape) {
  const TensorDesc tensor = empty(dtype, shape);
  check(cudaMemset(tensor.data, 0, bytesOf(tensor)), "filling an operand");
  return tensor;
}

TensorDesc Operands::floats(DType dtype, const std::vector<int64_t>& shape) {
  const TensorDesc tensor = empty(dtype, shape);
  auto* const data = static_cast<std::byte*>(tensor.data);
  const size_t bytes = bytesOf(tensor);
  const std::vector<std::byte> pattern = patternOf(dtype, std::min(bytes, size_t{1} << 20));
  check(cudaMemcpy(data, pattern.data(), pattern.size(), cudaMemcpyHostToDevice), "filling an operand");
  for (size_t filled = pattern.size(); filled < bytes; filled *= 2)
    check(cudaMemcpy(data + filled, data, std::min(filled, bytes - filled), cudaMemcpyDeviceToDevice),
          "filling an operand");
  return tensor;
}

TensorDesc Operands::numbers(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  const TensorDesc tensor = empty(DType::f32, shape);
  check(cudaMemcpy(tensor.data, values.data(), bytesOf(tensor), cudaMemcpyHostToDevice), "filling an operand");
  return tensor;
}

TensorDesc Operands::integers(int64_t count, const std::function<int64_t(int64_t)>& of) {
  std::vector<int32_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<int32_t>(of(i)));
  const TensorDesc tensor = empty(DType::i32, {count});
  check(cudaMemcpy(tensor.data, values.data(), bytesOf(tensor), cudaMemcpyHostToDevice), "filling an operand");
  return tensor;
}

TensorDesc Operands::longIntegers(int64_t count, const std::function<int64_t(int64_t)>& of) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(of(i));
  const TensorDesc tensor = empty(DType::i64, {count});
  check(cudaMemcpy(tensor.data, values.data(), bytesOf(tensor), cudaMemcpyHostToDevice), "filling an operand");
  return tensor;
}

}  // namespace mora::bench
