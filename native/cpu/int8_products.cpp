// Products with frozen weights in 8 bits: both operands are rounded row by row into scratch memory, and oneDNN
// multiplies the integers. With VNNI that takes half the time of bf16.
#include <omp.h>

#include <compare>
#include <unordered_map>

#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/onednn.h"
#include "cpu/rounded_rows.h"

namespace mora::cpu {
namespace {

using dnnl::memory;

struct Key {
  int64_t rows, columns, depth, stride;
  DType dtype;
  bool transposeB, accumulate;
  int threads;  // a primitive splits its work when it is made
  auto operator<=>(const Key&) const = default;
};

/// c (+)= a's scales * (a b), by rows. Where b is transposed, (a b) is first multiplied by b's scales and corrected.
struct Product {
  memory::desc a, b, c, rowScales, corrections, packed;
  dnnl::reorder packing;  // of b into `packed`
  dnnl::matmul matmul;
};

Product make(const Key& key) {
  using type = memory::data_type;
  using tag = memory::format_tag;
  const auto& [rows, columns, depth, stride, dtype, transposeB, accumulate, threads] = key;
  // Batches of one matrix: for those oneDNN's kernels take a factor for each row.
  Product product;
  // oneDNN puts b^T into its kernels' order slowly where it must also allow for signed codes of a.
  product.a = {{1, rows, depth}, transposeB ? type::u8 : type::s8, tag::abc};
  product.b = {{1, depth, columns}, type::s8, transposeB ? tag::acb : tag::abc};
  product.c = {{1, rows, columns}, typeOf(dtype), {rows * stride, stride, 1}};
  product.rowScales = {{1, rows, 1}, type::f32, tag::abc};
  if (transposeB) product.corrections = {{1, 1, columns}, type::f32, tag::abc};
  dnnl::post_ops after;
  after.append_binary(dnnl::algorithm::binary_mul, product.rowScales);
  if (accumulate) after.append_sum(1);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(after);
  if (transposeB) attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 2);
  const memory::desc any({1, depth, columns}, type::s8, tag::any);
  const dnnl::matmul::primitive_desc chosen(engine(), product.a, any, product.corrections, product.c, attributes);
  product.packed = chosen.weights_desc();
  product.packing = dnnl::reorder({engine(), product.b, engine(), product.packed});
  product.matmul = dnnl::matmul(chosen);
  return product;
}

void multiply(const Key& key, const RoundedRows& a, const RoundedRows& b, void* c) {
  const Product& product = kept<make>(key);
  const auto at = [](const memory::desc& desc, void* data) { return memory(desc, engine(), data); };
  memory plain = at(product.b, b.codes), packed = at(product.packed, scratch<52>(product.packed.get_size()));
  product.packing.execute(stream(), plain, packed);
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, at(product.a, a.codes)},
      {DNNL_ARG_WEIGHTS, packed},
      {DNNL_ARG_DST, at(product.c, c)},
      {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, at(product.rowScales, a.scales)}};
  if (key.transposeB) {
    const memory::desc scales({key.columns}, memory::data_type::f32, memory::format_tag::x);
    arguments[DNNL_ARG_BIAS] = at(product.corrections, b.corrections);
    arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] = at(scales, b.scales);
  }
  product.matmul.execute(stream(), arguments);
}

template <int Slot>
RoundedRows scratchRows(const TensorDesc& tensor) {
  const auto rows = static_cast<size_t>(tensor.shape[0]), codes = static_cast<size_t>(elementsOf(tensor));
  auto* const floats = static_cast<float*>(scratch<Slot>(2 * rows * sizeof(float) + codes));
  return {reinterpret_cast<int8_t*>(floats + 2 * rows), floats, floats + rows};
}

}  // namespace

void matmulInt8(TensorDesc a, TensorDesc b, bool transposeB, TensorDesc c, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (elementsOf(a) == 0) {
    if (!accumulate) fill(c, 0);
    return;
  }
  if (!hasInt8Products()) unsupported("matmulInt8 without VNNI or AMX");
  // 255 * 127 * 2^16 is what an i32 holds.
  if (a.shape[1] > 1 << 16) unsupported("matmulInt8 of rows of more than 65536 values");
  RoundedRows weight = scratchRows<50>(b), rows = scratchRows<51>(a);
  rows.corrections = nullptr;
  rows.isUnsigned = transposeB;
  roundRows(b, {.spreads = transposeB}, weight);
  roundRows(a, {.factors = transposeB ? nullptr : weight.scales, .spreads = transposeB}, rows);
  const Key key{c.shape[0], c.shape[1], a.shape[1], c.strides[0],
                c.dtype,    transposeB, accumulate, omp_get_max_threads()};
  multiply(key, rows, weight, c.data);
}

}  // namespace mora::cpu
