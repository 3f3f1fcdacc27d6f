// What every product through oneDNN shares.
#pragma once
#include <dnnl.hpp>
#include <string>

#include "cpu/tensor_view.h"

namespace mora::cpu {

/// Never destroyed: threads of the stream may outlive static objects.
inline const dnnl::engine& engine() {
  static const auto* const instance = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *instance;
}

inline dnnl::stream& stream() {
  static auto* const instance = new dnnl::stream(engine());
  return *instance;
}

inline dnnl::memory::data_type typeOf(DType dtype) {
  if (dtype == DType::f32) return dnnl::memory::data_type::f32;
  if (dtype == DType::bf16) return dnnl::memory::data_type::bf16;
  unsupported(std::string("matmul of ") + traitsOf(dtype).name);
}

}  // namespace mora::cpu
