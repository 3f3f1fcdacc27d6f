// Shared by all products of oneDNN.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <dnnl.hpp>
#include <map>
#include <string>
#include <unordered_map>

#include "cpu/products/matrix_units.h"
#include "cpu/tensor_view.h"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
#include <omp.h>
#endif

namespace mora::cpu {

/// Never destroyed: threads of the stream may outlive static objects.
inline const dnnl::engine& engine() {
  static const auto* const instance = [] {
    // oneDNN asks for tiles on Linux alone, and elsewhere takes them; what the user sets stays.
    if (hasForbiddenTiles() && !std::getenv("ONEDNN_MAX_CPU_ISA"))
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_fp16);
    dnnl::set_primitive_cache_capacity(0);  // the cache below keeps what is worth keeping
    return new dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return *instance;
}

/// Makes oneDNN work on the calling thread alone: the members of the team (team.h) call it in parallel.
inline void useNoTeamOfItsOwn() {
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
  omp_set_num_threads(1);  // of the calling thread
#endif
}

/// The stream of the calling thread.
inline dnnl::stream& stream() {
  thread_local dnnl::stream instance = [] {
    useNoTeamOfItsOwn();
    return dnnl::stream(engine());
  }();
  return instance;
}

/// A primitive that threads may run in parallel, since each has its own working memory.
template <typename Primitive>
class OneThread {
 public:
  OneThread() = default;
  /// @param made with attributes for a scratchpad of the user's
  explicit OneThread(const typename Primitive::primitive_desc& made)
      : primitive_(made), scratchpad_(made.scratchpad_desc()) {}

  void execute(std::unordered_map<int, dnnl::memory> arguments) const {
    Scratch scratch;
    arguments.emplace(DNNL_ARG_SCRATCHPAD, dnnl::memory(scratchpad_, engine(), scratch.bytes(scratchpad_.get_size())));
    primitive_.execute(stream(), arguments);
  }

 private:
  Primitive primitive_;
  dnnl::memory::desc scratchpad_;
};

inline dnnl::memory::data_type typeOf(DType dtype) {
  if (dtype == DType::f32) return dnnl::memory::data_type::f32;
  if (dtype == DType::bf16) return dnnl::memory::data_type::bf16;
  unsupported(std::string("matmul of ") + traitsOf(dtype).name);
}

inline size_t roundUp64(size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Returns make(key), cached from the first call. The cache keeps at least the latest kFew / 2 and at most kFew
/// results: batches may bring new shapes at every step, and a primitive takes 0.1 to 0.5 MB.
template <auto make, size_t kFew = 256, typename Key>
const auto& kept(const Key& key) {
  using Map = std::map<Key, decltype(make(key))>;
  static auto* const latest = new Map;
  static auto* const earlier = new Map;
  if (const auto found = latest->find(key); found != latest->end()) return found->second;
  if (latest->size() >= kFew / 2) {
    earlier->swap(*latest);
    latest->clear();
  }
  if (auto found = earlier->extract(key)) return latest->insert(std::move(found)).position->second;
  useNoTeamOfItsOwn();
  return latest->emplace(key, make(key)).first->second;
}

}  // namespace mora::cpu
