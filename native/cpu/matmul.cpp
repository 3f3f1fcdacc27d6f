#include "cpu/matmul.h"

#include <dnnl.h>
#include <hwy/targets.h>
#include <omp.h>

#include <array>
#include <dnnl.hpp>
#include <unordered_map>

#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

using dnnl::memory;

const dnnl::engine& engine() {
  static const auto* const instance = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *instance;
}

dnnl::stream& stream() {
  static auto* const instance = new dnnl::stream(engine());
  return *instance;
}

memory::data_type typeOf(DType dtype) {
  if (dtype == DType::f32) return memory::data_type::f32;
  if (dtype == DType::bf16) return memory::data_type::bf16;
  unsupported(std::string("matmul of ") + traitsOf(dtype).name);
}

/// One operand as oneDNN sees it: the last two dimensions swapped where it is transposed.
struct Operand {
  std::array<int64_t, 3> dims{}, strides{};
  DType dtype{};

  Operand() = default;
  Operand(const TensorDesc& tensor, bool transpose) : dtype(tensor.dtype) {
    const int32_t rank = tensor.rank, row = rank - (transpose ? 1 : 2), column = rank - (transpose ? 2 : 1);
    dims = {rank == 3 ? tensor.shape[0] : 1, tensor.shape[row], tensor.shape[column]};
    strides = {rank == 3 ? tensor.strides[0] : 1, tensor.strides[row], tensor.strides[column]};
    if (rank == 3 && strides[0] == 0) dims[0] = 1;  // one matrix for the whole batch
    // The stride of a dimension of 1 means nothing, but oneDNN wants one that looks dense.
    if (dims[2] == 1 && strides[1] != 1) strides[2] = 1;
    if (dims[1] == 1 && strides[2] == 1) strides[1] = dims[2];
    if (dims[0] == 1) strides[0] = dims[1] * strides[1] + dims[2] * strides[2];
  }
  bool operator==(const Operand&) const = default;

  memory::desc desc(bool batched) const {
    const int from = batched ? 0 : 1;
    return {memory::dims(dims.begin() + from, dims.end()), typeOf(dtype),
            memory::dims(strides.begin() + from, strides.end())};
  }
};

struct Key {
  Operand a, b, c;
  float alpha;
  bool accumulate;
  int threads;  // a primitive splits its work when it is made
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    size_t hash = static_cast<size_t>(key.accumulate) + 2 * static_cast<size_t>(key.threads);
    for (const Operand* operand : {&key.a, &key.b, &key.c})
      for (size_t i = 0; i < 3; ++i)
        for (const int64_t number : {operand->dims[i], operand->strides[i]})
          hash = hash * 0x9e3779b97f4a7c15u + static_cast<size_t>(number) + (hash >> 29);
    return hash;
  }
};

dnnl::matmul make(const Key& key) {
  dnnl::post_ops after;
  if (key.alpha != 1) after.append_eltwise(dnnl::algorithm::eltwise_linear, key.alpha, 0);
  if (key.accumulate) after.append_sum(1);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(after);
  const bool batched = key.c.dims[0] > 1;
  return dnnl::matmul({engine(), key.a.desc(batched), key.b.desc(batched), key.c.desc(batched), attributes});
}

const dnnl::matmul& primitiveFor(const Key& key) {
  // Packed batches bring new shapes at every step: old primitives go when there are many.
  constexpr size_t kKept = 1024;
  static auto* const kept = new std::unordered_map<Key, dnnl::matmul, KeyHash>;
  const auto found = kept->find(key);
  if (found != kept->end()) return found->second;
  if (kept->size() >= kKept) kept->clear();
  return kept->emplace(key, make(key)).first->second;
}

/// A dense copy of a tensor in `dtype`; without `read`, memory for one.
TensorDesc packed(const TensorDesc& tensor, DType dtype, void* memory, bool read) {
  TensorDesc dense = tensor;
  dense.data = memory;
  dense.dtype = dtype;
  int64_t stride = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    dense.strides[i] = stride;
    stride *= tensor.shape[i];
  }
  if (read) copy(tensor, dense, 1);
  return dense;
}

/// A row or a column whose elements are apart: oneDNN takes it for a dense one.
bool isStridedVector(const TensorDesc& tensor) {
  const int32_t row = tensor.rank - 2, column = tensor.rank - 1;
  return (tensor.shape[row] == 1 && tensor.shape[column] > 1 && tensor.strides[column] != 1) ||
         (tensor.shape[column] == 1 && tensor.shape[row] > 1 && tensor.strides[row] != 1);
}

bool bfloat16Products() {
  static const bool supported = [] {
    Key probe{};
    const TensorDesc tensor{nullptr, DType::bf16, 2, {16, 16}, {16, 1}};
    probe.a = probe.b = probe.c = Operand(tensor, false);
    probe.alpha = 1;
    try {
      make(probe);
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return supported;
}

}  // namespace

void matmul(TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (elementsOf(a) == 0) {
    if (!accumulate) fill(c, 0);
    return;
  }
  const bool widen = a.dtype == DType::bf16 && !bfloat16Products();
  if (widen || isStridedVector(a) || isStridedVector(b) || isStridedVector(c)) {
    const auto pack = [&](const TensorDesc& tensor, void* (*memory)(size_t), bool read) {
      if (!widen && !isStridedVector(tensor)) return tensor;
      const size_t bytes = static_cast<size_t>(elementsOf(tensor)) * sizeof(float);
      return packed(tensor, widen ? DType::f32 : tensor.dtype, memory(bytes), read);
    };
    const TensorDesc denseA = pack(a, scratch<20>, true), denseB = pack(b, scratch<21>, true);
    const TensorDesc denseC = pack(c, scratch<22>, accumulate);
    matmul(denseA, transposeA, denseB, transposeB, denseC, alpha, accumulate);
    if (denseC.data != c.data) copy(denseC, c, 1);
    return;
  }
  const Key key{Operand(a, transposeA), Operand(b, transposeB), Operand(c, false), alpha, accumulate,
                omp_get_max_threads()};
  const bool batched = key.c.dims[0] > 1;
  primitiveFor(key).execute(stream(), {{DNNL_ARG_SRC, memory(key.a.desc(batched), engine(), a.data)},
                                       {DNNL_ARG_WEIGHTS, memory(key.b.desc(batched), engine(), b.data)},
                                       {DNNL_ARG_DST, memory(key.c.desc(batched), engine(), c.data)}});
}

bool hasFastBfloat16() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx10_1_512:
    case dnnl::cpu_isa::avx10_1_512_amx:
    case dnnl::cpu_isa::avx10_1_512_amx_fp16:
    case dnnl::cpu_isa::avx2_vnni_2:
      return true;
    default:
      return false;
  }
}

std::string instructionSets() {
  const int64_t targets = hwy::SupportedTargets();
  return std::string("Highway ") + hwy::TargetName(targets & -targets) + ", oneDNN ISA " +
         std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
}

std::vector<std::pair<std::string, std::string>> libraries() {
  const dnnl_version_t* dnnl = dnnl_version();
  return {
      {"oneDNN", std::to_string(dnnl->major) + "." + std::to_string(dnnl->minor) + "." + std::to_string(dnnl->patch)},
      {"Highway", std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." + std::to_string(HWY_PATCH)},
      {"OpenMP", std::to_string(_OPENMP)}};
}

}  // namespace mora::cpu
