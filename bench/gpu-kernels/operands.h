// Operands of one case: dense device memory with something in it, freed together.
#pragma once
#include <functional>
#include <vector>

#include "core/backend.h"

namespace mora::bench {

class Operands {
 public:
  Operands() = default;
  ~Operands();
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  /// Numbers between -1 and 1, the same every time; of a block format, blocks of them.
  TensorDesc floats(DType dtype, const std::vector<int64_t>& shape);
  TensorDesc bfloat16(const std::vector<int64_t>& shape) { return floats(DType::bf16, shape); }
  TensorDesc float32(const std::vector<int64_t>& shape) { return floats(DType::f32, shape); }
  TensorDesc zeros(DType dtype, const std::vector<int64_t>& shape);
  TensorDesc numbers(const std::vector<int64_t>& shape, const std::vector<float>& values);
  TensorDesc integers(int64_t count, const std::function<int64_t(int64_t)>& of);
  TensorDesc longIntegers(int64_t count, const std::function<int64_t(int64_t)>& of);

 private:
  TensorDesc empty(DType dtype, const std::vector<int64_t>& shape);

  std::vector<void*> memory_;
};

}  // namespace mora::bench
