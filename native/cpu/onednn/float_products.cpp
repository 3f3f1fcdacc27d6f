#include "cpu/products/product_library.h"

#include <algorithm>
#include <array>
#include <compare>
#include <cstring>
#include <utility>
#include <vector>

#include "cpu/onednn/onednn.h"
#include "cpu/processor.h"
#include "cpu/products/panel_order.h"
#include "cpu/products/product_cut.h"
#include "cpu/team.h"

namespace mora::cpu {
namespace {

using dnnl::memory;

/// One operand for oneDNN: [batch, rows, columns], the last two swapped if it is transposed.
struct Operand {
  std::array<int64_t, 3> dims{}, strides{};
  DType dtype{};

  Operand() = default;
  Operand(const TensorDesc& tensor, bool transpose) : dtype(tensor.dtype) {
    const int32_t rank = tensor.rank, row = rank - (transpose ? 1 : 2), column = rank - (transpose ? 2 : 1);
    dims = {rank == 3 ? tensor.shape[0] : 1, tensor.shape[row], tensor.shape[column]};
    strides = {rank == 3 ? tensor.strides[0] : 1, tensor.strides[row], tensor.strides[column]};
    if (rank == 3 && strides[0] == 0) dims[0] = 1;  // one matrix for the whole batch
  }
  auto operator<=>(const Operand&) const = default;

  /// A part with these sizes.
  Operand part(int64_t batch, int64_t rows, int64_t columns) const {
    Operand part = *this;
    part.dims = {std::min(batch, dims[0]), rows, columns};
    if (batch == 1) part.strides[0] = 1;
    return part;
  }

  /// Its descriptor in a product of `batch` matrices.
  memory::desc desc(int64_t batch) const {
    auto [batchStride, rowStride, columnStride] = strides;
    const auto& [matrices, rows, columns] = dims;
    // The stride of a dimension of 1 has no meaning, but oneDNN expects a dense one.
    if (columns == 1 && rowStride != 1) columnStride = 1;
    if (rows == 1 && columnStride == 1) rowStride = columns;
    if (batch == 1) return {{rows, columns}, typeOf(dtype), {rowStride, columnStride}};
    return {{matrices, rows, columns},
            typeOf(dtype),
            {matrices == 1 ? rows * rowStride + columns * columnStride : batchStride, rowStride, columnStride}};
  }

  int64_t elementBytes() const { return traitsOf(dtype).blockBytes; }

  std::byte* at(void* data, int64_t batch, int64_t row, int64_t column) const {
    const int64_t offset = (dims[0] == 1 ? 0 : batch * strides[0]) + row * strides[1] + column * strides[2];
    return static_cast<std::byte*>(data) + offset * elementBytes();
  }
};

/// A part of b and its packing: by packPairs in blocks of `width` columns, or by oneDNN if `width` is 0.
struct Panel {
  memory::desc plain, packed;
  int64_t width = 0;
  dnnl::reorder packing;
};

/// The block width with which packPairs writes this order; 0 if it cannot.
int64_t widthOfPairs(const memory::desc& packed) {
  using tag = memory::format_tag;
  if (packed.get_data_type() != memory::data_type::bf16 || packed.get_ndims() != 2) return 0;
  const std::pair<int64_t, tag> orders[] = {
      {64, tag::BA16a64b2a}, {48, tag::BA16a48b2a}, {32, tag::BA16a32b2a}, {16, tag::BA16a16b2a}};
  for (const auto& [width, order] : orders)
    if (packed == memory::desc(packed.get_dims(), packed.get_data_type(), order)) return width;
  return 0;
}

struct PanelKey {
  Operand a, b, c;
  auto operator<=>(const PanelKey&) const = default;
};

struct Piece {
  memory::desc a, b, c;
  OneThread<dnnl::matmul> matmul;
};

struct PieceKey {
  Operand a, b, c;
  float alpha;
  bool accumulate, packs;
  auto operator<=>(const PieceKey&) const = default;
};

dnnl::primitive_attr attributesOf(float alpha, bool accumulate) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops after;
  if (alpha != 1) after.append_eltwise(dnnl::algorithm::eltwise_linear, alpha, 0);
  if (accumulate) after.append_sum(1);
  attributes.set_post_ops(after);
  return attributes;
}

Panel makePanel(const PanelKey& key) {
  const int64_t batch = key.c.dims[0];
  Panel panel;
  panel.plain = key.b.desc(batch);
  const memory::desc any{panel.plain.get_dims(), panel.plain.get_data_type(), memory::format_tag::any};
  const dnnl::matmul::primitive_desc chosen(engine(), key.a.desc(batch), any, key.c.desc(batch),
                                            attributesOf(1, false));
  panel.packed = chosen.weights_desc();
  panel.width = widthOfPairs(panel.packed);
  if (panel.width == 0) panel.packing = dnnl::reorder({engine(), panel.plain, engine(), panel.packed});
  return panel;
}

/// Whether this processor's bf16 kernels read the order of packPairs.
bool readsPairs() {
  static const bool reads = [] {
    const Operand square(TensorDesc{nullptr, DType::bf16, 2, {64, 64}, {64, 1}}, false);
    return multipliesBfloat16() && makePanel({square, square, square}).width > 0;
  }();
  return reads;
}

/// The panel for b: pieces of any number of rows share one order, which these operands choose.
const Panel& panelOf(const Operand& a, const Operand& b, const Operand& c) {
  constexpr int64_t kRows = 64;
  return kept<makePanel>(PanelKey{a.part(c.dims[0], kRows, a.dims[2]), b, c.part(c.dims[0], kRows, c.dims[2])});
}

Piece makePiece(const PieceKey& key) {
  const int64_t batch = key.c.dims[0];
  Piece piece{
      key.a.desc(batch), key.packs ? panelOf(key.a, key.b, key.c).packed : key.b.desc(batch), key.c.desc(batch), {}};
  piece.matmul =
      OneThread<dnnl::matmul>({engine(), piece.a, piece.b, piece.c, attributesOf(key.alpha, key.accumulate)});
  return piece;
}

/// Copies `count` lines of `length` bytes, which start `stride` bytes apart on both sides.
void copyLines(const std::byte* from, std::byte* to, int64_t count, int64_t length, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * stride, from + i * stride, static_cast<size_t>(length));
}

/// Copies lines of a matrix to scratch memory, with the same stride, padded with lines of zeros up to `size` of them.
std::byte* padded(Scratch& scratch, const std::byte* lines, const Part& part, int64_t length, int64_t stride) {
  auto* const copy = static_cast<std::byte*>(scratch.bytes(static_cast<size_t>((part.size - 1) * stride + length)));
  copyLines(lines, copy, part.length, length, stride);
  for (int64_t i = part.length; i < part.size; ++i) std::memset(copy + i * stride, 0, static_cast<size_t>(length));
  return copy;
}

/// The state of one product.
class Multiplication {
 public:
  Multiplication(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                 float alpha, bool accumulate)
      : a_(a, transposeA),
        b_(b, transposeB),
        c_(c, false),
        alpha_(alpha),
        accumulate_(accumulate),
        dataA_(a.data),
        dataB_(b.data),
        dataC_(c.data) {
    constexpr int64_t kPackedBytes = 64 << 20;
    const auto& [batch, rows, columns] = c_.dims;
    const int64_t depth = a_.dims[2];
    const bool copiesLeft = a_.strides[2] != 1, linesOfC = c_.strides[2] == 1;
    const bool mayPack = b_.dims[0] == batch && batch * depth * columns * b_.elementBytes() <= kPackedBytes;
    const bool packsFast = b_.dtype == DType::bf16 && !copiesLeft && (batch == 1 || linesOfC) && readsPairs();
    // Sums over parts of the depth are rounded in between, to no fewer bits than f32 has.
    const bool mayPadDepth = copiesLeft && a_.strides[1] == 1 && b_.strides[2] == 1 && c_.dtype == DType::f32;
    cut_ = cutOf({batch, rows, columns, depth, copiesLeft, mayPack, packsFast, !copiesLeft && linesOfC, mayPadDepth},
                 teamSize());
  }

  void run() {
    makePieces();
    Scratch scratch;
    if (cut_.packs) pack(scratch);
    shareItems(cut_.pieces(), [&](int64_t item, int) { computePiece(item); });
  }

 private:
  /// One thread makes the primitives before others run them. They stay in the cache during the product, which has fewer
  /// pieces than the cache keeps.
  void makePieces() {
    for (const auto& [otherBatch, batches] : cut_.batch.kinds()) {
      for (const auto& [otherColumn, n] : cut_.columns.kinds()) {
        const Operand b = b_.part(batches, cut_.depth.front().size, n);
        if (cut_.packs) {
          const Panel* panel = &panelOf(a_.part(batches, 1, b.dims[1]), b, c_.part(batches, 1, n));
          panels_[otherBatch][otherColumn] = panel;
          panelBytes_ = std::max(panelBytes_, roundUp64(panel->packed.get_size()));
        }
        std::vector<const Piece*>& pieces = pieces_[otherBatch][otherColumn];
        for (const Part& row : cut_.rows) {
          for (const Part& depth : cut_.depth) {
            const PieceKey key{a_.part(batches, row.size, depth.size), b_.part(batches, depth.size, n),
                               c_.part(batches, row.size, n),          alpha_,
                               accumulate_ || depth.begin > 0,         cut_.packs};
            pieces.push_back(&kept<makePiece, 512>(key));
          }
        }
      }
    }
  }

  void pack(Scratch& scratch) {
    packed_ = static_cast<std::byte*>(scratch.bytes(panelBytes_ * static_cast<size_t>(cut_.panels())));
    shareItems(cut_.panels(), [&](int64_t item, int) {
      const int64_t batch = item / cut_.columns.count, column = item % cut_.columns.count;
      const Panel& panel = *panels_[cut_.batch.differs(batch)][cut_.columns.differs(column)];
      std::byte* const from = b_.at(dataB_, cut_.batch.begin(batch), 0, cut_.columns.begin(column));
      std::byte* const to = packed_ + static_cast<size_t>(item) * panelBytes_;
      if (panel.width > 0) {
        const RightOperand b{reinterpret_cast<const uint16_t*>(from), b_.dims[1], cut_.columns.sizeOf(column),
                             b_.strides[1], b_.strides[2]};
        return packPairs(b, panel.width, reinterpret_cast<uint16_t*>(to));
      }
      memory plain(panel.plain, engine(), from), ordered(panel.packed, engine(), to);
      panel.packing.execute(stream(), plain, ordered);
    });
  }

  void computePiece(int64_t item) const {
    const int64_t column = item % cut_.columns.count, others = item / cut_.columns.count;
    const auto rowParts = static_cast<int64_t>(cut_.rows.size());
    const int64_t batch = others / rowParts;
    const size_t row = static_cast<size_t>(others % rowParts), depths = cut_.depth.size();
    const Part& rows = cut_.rows[row];
    const int64_t firstBatch = cut_.batch.begin(batch), firstColumn = cut_.columns.begin(column);
    const int64_t n = cut_.columns.sizeOf(column);
    const auto& pieces = pieces_[cut_.batch.differs(batch)][cut_.columns.differs(column)];
    Scratch scratch;
    std::byte* const c = c_.at(dataC_, firstBatch, rows.begin, firstColumn);
    std::byte* target = c;
    const int64_t lineOfC = n * c_.elementBytes(), strideOfC = c_.strides[1] * c_.elementBytes();
    if (rows.size > rows.length)
      target = padded(scratch, c, {0, accumulate_ ? rows.length : 0, rows.size}, lineOfC, strideOfC);
    for (size_t i = 0; i < depths; ++i) {
      const Part& depth = cut_.depth[i];
      std::byte* left = a_.at(dataA_, firstBatch, rows.begin, depth.begin);
      std::byte* right = cut_.packs ? packed_ + static_cast<size_t>(batch * cut_.columns.count + column) * panelBytes_
                                    : b_.at(dataB_, firstBatch, depth.begin, firstColumn);
      if (rows.size > rows.length)
        left = padded(scratch, left, rows, depth.length * a_.elementBytes(), a_.strides[1] * a_.elementBytes());
      if (depth.size > depth.length) {
        left = padded(scratch, left, depth, rows.length * a_.elementBytes(), a_.strides[2] * a_.elementBytes());
        right = padded(scratch, right, depth, n * b_.elementBytes(), b_.strides[1] * b_.elementBytes());
      }
      const Piece& piece = *pieces[row * depths + i];
      piece.matmul.execute({{DNNL_ARG_SRC, memory(piece.a, engine(), left)},
                            {DNNL_ARG_WEIGHTS, memory(piece.b, engine(), right)},
                            {DNNL_ARG_DST, memory(piece.c, engine(), target)}});
    }
    if (target != c) copyLines(target, c, rows.length, lineOfC, strideOfC);
  }

  Operand a_, b_, c_;
  float alpha_;
  bool accumulate_;
  void *dataA_, *dataB_, *dataC_;
  ProductCut cut_;
  // Indexed by whether the part of the batch, and of the columns, is a last one of another size.
  const Panel* panels_[2][2] = {};
  std::vector<const Piece*> pieces_[2][2];  // indexed by parts of rows and of the depth
  size_t panelBytes_ = 0;
  std::byte* packed_ = nullptr;
};

}  // namespace

void multiplyFloats(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                    float alpha, bool accumulate) {
  Multiplication(a, transposeA, b, transposeB, c, alpha, accumulate).run();
}

/// On Arm, oneDNN multiplies bf16 in plain loops, unless built with the Arm Compute Library; Debian's and ours are not.
bool multipliesBfloat16() {
  static const bool has = [] {
    if (HWY_ARCH_ARM) return false;
    const Operand square(TensorDesc{nullptr, DType::bf16, 2, {16, 16}, {16, 1}}, false);
    try {
      makePiece({square, square, square, 1, false, false});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return has;
}

/// Intel's cores with AVX512-BF16 and FP16 but without AMX: VDPBF16PS is slower there than float32 FMAs (measured: 87
/// against 150 GFLOP/s a core). A rule, not a measurement at start-up, so that results are the same every time.
bool slowBfloat16() { return isIntel() && dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx10_1_512; }

bool hasFastBfloat16() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx10_1_512:
      return !slowBfloat16();
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx10_1_512_amx:
    case dnnl::cpu_isa::avx10_1_512_amx_fp16:
    case dnnl::cpu_isa::avx2_vnni_2:
      return true;
    default:
      return false;
  }
}

/// VNNI or AMX; on others, oneDNN's sums saturate.
bool hasInt8Products() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx2_vnni:
    case dnnl::cpu_isa::avx2_vnni_2:
    case dnnl::cpu_isa::avx512_core_vnni:
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx10_1_512:
    case dnnl::cpu_isa::avx10_1_512_amx:
    case dnnl::cpu_isa::avx10_1_512_amx_fp16:
      return true;
    default:
      return false;
  }
}

std::pair<std::string, std::string> productLibrary() {
  const dnnl_version_t* version = dnnl_version();
  return {"oneDNN", std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                        std::to_string(version->patch)};
}

std::string productInstructions() {
  return "oneDNN ISA " + std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
}

}  // namespace mora::cpu
