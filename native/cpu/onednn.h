// What every product through oneDNN shares.
#pragma once
#include <cstddef>
#include <dnnl.hpp>
#include <map>
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

/// What `make` gives for a key, made at the first call with it.
template <auto make, typename Key>
const auto& kept(const Key& key) {
  // Packed batches bring new shapes at every step: old primitives go when there are many.
  constexpr size_t kMost = 1024;
  static auto* const all = new std::map<Key, decltype(make(key))>;
  const auto found = all->find(key);
  if (found != all->end()) return found->second;
  if (all->size() >= kMost) all->clear();
  return all->emplace(key, make(key)).first->second;
}

}  // namespace mora::cpu
