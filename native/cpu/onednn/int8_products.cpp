// Products with frozen weights in 8 bits: both operands are rounded row by row into scratch memory, and oneDNN
// multiplies the integers. With VNNI that takes half the time of bf16.
#include <algorithm>
#include <compare>
#include <cstring>
#include <set>
#include <unordered_map>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/onednn/onednn.h"
#include "cpu/products/product_cut.h"
#include "cpu/products/product_library.h"
#include "cpu/products/rounded_rows.h"
#include "cpu/team.h"

namespace mora::cpu {
namespace {

using dnnl::memory;

struct Key {
  int64_t rows, columns, depth, stride;
  DType dtype;
  bool transposeB, accumulate;
  int members;
  auto operator<=>(const Key&) const = default;
};

/// Columns of b and their packing.
struct Panel {
  memory::desc plain, packed, scales;
  dnnl::reorder packing;
};

/// c (+)= a's scales * (a b), by rows. If b is transposed, (a b) is first multiplied by b's scales and corrected.
struct Piece {
  memory::desc a, c, rowScales, corrections;
  OneThread<dnnl::matmul> matmul;
};

/// Parts of an axis have one size, [0]; the last may have another, [1].
struct Product {
  ProductCut cut;
  Panel panels[2];     // of columns
  Piece pieces[2][2];  // of rows and columns
  size_t panelBytes = 0;
};

Product make(const Key& key) {
  using type = memory::data_type;
  using tag = memory::format_tag;
  const auto& [rows, columns, depth, stride, dtype, transposeB, accumulate, members] = key;
  Product product;
  product.cut = cutOf({1, rows, columns, depth, false, true, false, false, false}, members);
  const ProductCut& cut = product.cut;
  for (const auto& [otherColumn, n] : cut.columns.kinds()) {
    Panel& panel = product.panels[otherColumn];
    panel.plain = {{1, depth, n}, type::s8, transposeB ? tag::acb : tag::abc};
    if (transposeB) panel.scales = {{n}, type::f32, tag::x};
    for (const int64_t m : std::set{cut.rows.front().size, cut.rows.back().size}) {
      Piece& piece = product.pieces[m != cut.rows.front().size][otherColumn];
      // Batches of one matrix, since oneDNN's kernels then take a factor for each row. oneDNN packs b^T slowly if it
      // must also allow for signed codes of a.
      piece.a = {{1, m, depth}, transposeB ? type::u8 : type::s8, tag::abc};
      piece.c = {{1, m, n}, typeOf(dtype), {m * stride, stride, 1}};
      piece.rowScales = {{1, m, 1}, type::f32, tag::abc};
      if (transposeB) piece.corrections = {{1, 1, n}, type::f32, tag::abc};
      dnnl::post_ops after;
      after.append_binary(dnnl::algorithm::binary_mul, piece.rowScales);
      if (accumulate) after.append_sum(1);
      dnnl::primitive_attr attributes;
      attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      attributes.set_post_ops(after);
      if (transposeB) attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 2);
      // The first size of rows chooses the order; the other adopts it.
      const memory::desc weights = panel.packing ? panel.packed : memory::desc({1, depth, n}, type::s8, tag::any);
      const dnnl::matmul::primitive_desc chosen(engine(), piece.a, weights, piece.corrections, piece.c, attributes);
      piece.matmul = OneThread<dnnl::matmul>(chosen);
      if (panel.packing) continue;
      panel.packed = chosen.weights_desc();
      panel.packing = dnnl::reorder({engine(), panel.plain, engine(), panel.packed});
      product.panelBytes = std::max(product.panelBytes, roundUp64(panel.packed.get_size()));
    }
  }
  return product;
}

/// The codes of some columns of b, dense, since oneDNN packs only dense ones.
const int8_t* panelCodes(Scratch& scratch, const Key& key, const int8_t* b, const Axis& columns, int64_t column) {
  if (key.transposeB) return b + columns.begin(column) * key.depth;
  if (columns.count == 1) return b;
  const int64_t width = columns.sizeOf(column);
  auto* const panel = scratch.take<int8_t>(key.depth * width);
  for (int64_t row = 0; row < key.depth; ++row)
    std::memcpy(panel + row * width, b + row * key.columns + columns.begin(column), static_cast<size_t>(width));
  return panel;
}

void multiply(const Key& key, const RoundedRows& a, const RoundedRows& b, void* c) {
  const Product& product = kept<make>(key);
  const std::vector<Part>& rows = product.cut.rows;
  const Axis& columns = product.cut.columns;
  Scratch scratch;
  auto* const packed = static_cast<std::byte*>(scratch.bytes(product.panelBytes * static_cast<size_t>(columns.count)));
  const auto at = [](const memory::desc& desc, const void* data) {
    return memory(desc, engine(), const_cast<void*>(data));
  };
  const auto panelAt = [&](int64_t column) { return packed + static_cast<size_t>(column) * product.panelBytes; };
  shareItems(columns.count, [&](int64_t column, int) {
    const Panel& panel = product.panels[columns.differs(column)];
    Scratch own;
    memory plain = at(panel.plain, panelCodes(own, key, b.codes, columns, column));
    memory ordered = at(panel.packed, panelAt(column));
    panel.packing.execute(stream(), plain, ordered);
  });
  const int64_t elementBytes = traitsOf(key.dtype).blockBytes;
  shareItems(product.cut.pieces(), [&](int64_t item, int) {
    const int64_t column = item % columns.count;
    const Part& row = rows[static_cast<size_t>(item / columns.count)];
    const int64_t firstColumn = columns.begin(column), firstRow = row.begin;
    const Panel& panel = product.panels[columns.differs(column)];
    const Piece& piece = product.pieces[row.size != rows.front().size][columns.differs(column)];
    std::unordered_map<int, memory> arguments{
        {DNNL_ARG_SRC, at(piece.a, a.codes + firstRow * key.depth)},
        {DNNL_ARG_WEIGHTS, at(panel.packed, panelAt(column))},
        {DNNL_ARG_DST, at(piece.c, static_cast<std::byte*>(c) + (firstRow * key.stride + firstColumn) * elementBytes)},
        {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, at(piece.rowScales, a.scales + firstRow)}};
    if (key.transposeB) {
      arguments[DNNL_ARG_BIAS] = at(piece.corrections, b.corrections + firstColumn);
      arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] = at(panel.scales, b.scales + firstColumn);
    }
    piece.matmul.execute(std::move(arguments));
  });
}

RoundedRows scratchRows(Scratch& scratch, const TensorDesc& tensor) {
  const int64_t rows = tensor.shape[0];
  auto* const codes = scratch.take<int8_t>(elementsOf(tensor));
  auto* const scales = scratch.take<float>(rows);
  return {codes, scales, scratch.take<float>(rows)};
}

}  // namespace

void matmulInt8(TensorDesc a, TensorDesc b, bool transposeB, TensorDesc c, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (elementsOf(a) == 0) {
    if (!accumulate) fill(c, 0);
    return;
  }
  if (!hasInt8Products()) unsupported("matmulInt8 without VNNI or AMX");
  // 255 * 127 * 2^16 fits in an i32.
  if (a.shape[1] > 1 << 16) unsupported("matmulInt8 of rows of more than 65536 values");
  Scratch scratch;
  RoundedRows weight = scratchRows(scratch, b), rows = scratchRows(scratch, a);
  rows.corrections = nullptr;
  rows.isUnsigned = transposeB;
  roundRows(b, {.spreads = transposeB}, weight);
  roundRows(a, {.factors = transposeB ? nullptr : weight.scales, .spreads = transposeB}, rows);
  const Key key{c.shape[0], c.shape[1], a.shape[1], c.strides[0], c.dtype, transposeB, accumulate, teamSize()};
  multiply(key, rows, weight, c.data);
}

}  // namespace mora::cpu
