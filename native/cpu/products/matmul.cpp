#include "cpu/products/matmul.h"

#include <dnnl.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <compare>

#include "cpu/processor.h"
#include "cpu/products/few_rows.h"
#include "cpu/products/onednn.h"
#include "cpu/products/panel_products.h"
#include "cpu/products/product_cut.h"
#include "cpu/products/small_products.h"
#include "cpu/team.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

using dnnl::memory;

/// One operand as oneDNN sees it: [batch, rows, columns], the last two swapped where it is transposed.
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

  /// Describes a part with these sizes.
  memory::desc desc(int64_t batch, int64_t rows, int64_t columns) const {
    auto [batchStride, rowStride, columnStride] = strides;
    // The stride of a dimension of 1 means nothing, but oneDNN wants one that looks dense.
    if (columns == 1 && rowStride != 1) columnStride = 1;
    if (rows == 1 && columnStride == 1) rowStride = columns;
    if (batch == 1) return {{rows, columns}, typeOf(dtype), {rowStride, columnStride}};
    return {{std::min(batch, dims[0]), rows, columns},
            typeOf(dtype),
            {dims[0] == 1 ? rows * rowStride + columns * columnStride : batchStride, rowStride, columnStride}};
  }

  void* at(void* data, int64_t batch, int64_t row, int64_t column) const {
    const int64_t offset = (dims[0] == 1 ? 0 : batch * strides[0]) + row * strides[1] + column * strides[2];
    return static_cast<std::byte*>(data) + offset * traitsOf(dtype).blockBytes;
  }
};

struct Key {
  Operand a, b, c;
  float alpha;
  bool accumulate;
  int members;
  auto operator<=>(const Key&) const = default;
};

/// Many rows are multiplied by one matrix: it is put into the order in which oneDNN's kernels read it once, instead of
/// for each tile of rows.
bool mayPack(const Key& key) {
  constexpr int64_t kRows = 1024, kNarrow = 48, kBytes = 64 << 20;
  const auto& [batch, depth, columns] = key.b.dims;
  return batch == key.c.dims[0] && key.c.dims[1] >= kRows && std::min(depth, columns) >= kNarrow &&
         batch * depth * columns * traitsOf(key.b.dtype).blockBytes <= kBytes;
}

/// A part of b and how it is packed.
struct Panel {
  memory::desc plain, packed;
  dnnl::reorder packing;
};

struct Piece {
  memory::desc a, b, c;
  OneThread<dnnl::matmul> matmul;
};

/// Parts of an axis are alike: [0], but for a last one of another size: [1].
struct Product {
  ProductCut cut;
  Panel panels[2][2];     // of batches and columns
  Piece pieces[2][2][2];  // of batches, rows and columns
  size_t panelBytes = 0;
};

Product make(const Key& key) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops after;
  if (key.alpha != 1) after.append_eltwise(dnnl::algorithm::eltwise_linear, key.alpha, 0);
  if (key.accumulate) after.append_sum(1);
  attributes.set_post_ops(after);

  const auto& [batch, rows, columns] = key.c.dims;
  const int64_t depth = key.a.dims[2];
  const bool copiesLeft = key.a.strides[2] != 1;
  Product product;
  product.cut = cutOf({batch, rows, columns, depth, copiesLeft, mayPack(key)}, key.members);
  const ProductCut& cut = product.cut;
  for (const auto& [otherBatch, batches] : cut.batch.kinds()) {
    for (const auto& [otherColumn, n] : cut.columns.kinds()) {
      Panel& panel = product.panels[otherBatch][otherColumn];
      panel.plain = key.b.desc(batches, depth, n);
      for (const auto& [otherRow, m] : cut.rows.kinds()) {
        Piece& piece = product.pieces[otherBatch][otherRow][otherColumn];
        piece.a = key.a.desc(batches, m, depth);
        piece.c = key.c.desc(batches, m, n);
        piece.b = panel.plain;
        // The first kind of rows chooses the order; the other takes it.
        if (panel.packing)
          piece.b = panel.packed;
        else if (cut.packs)
          piece.b = {panel.plain.get_dims(), panel.plain.get_data_type(), memory::format_tag::any};
        const dnnl::matmul::primitive_desc chosen(engine(), piece.a, piece.b, piece.c, attributes);
        piece.matmul = OneThread<dnnl::matmul>(chosen);
        if (!cut.packs || panel.packing) continue;
        panel.packed = piece.b = chosen.weights_desc();
        panel.packing = dnnl::reorder({engine(), panel.plain, engine(), panel.packed});
        product.panelBytes = std::max(product.panelBytes, roundUp64(panel.packed.get_size()));
      }
    }
  }
  return product;
}

void multiply(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
              float alpha, bool accumulate) {
  const Key key{Operand(a, transposeA), Operand(b, transposeB), Operand(c, false), alpha, accumulate, teamSize()};
  const Product& product = kept<make>(key);
  const Axis &batches = product.cut.batch, &rows = product.cut.rows, &columns = product.cut.columns;
  const bool packs = product.cut.packs;
  const auto panelData = [&](int64_t batch, int64_t column) {
    return key.b.at(b.data, batches.begin(batch), 0, columns.begin(column));
  };
  Scratch scratch;
  std::byte* packed = nullptr;
  if (packs) {
    packed = static_cast<std::byte*>(scratch.bytes(product.panelBytes * static_cast<size_t>(product.cut.panels())));
    shareItems(product.cut.panels(), [&](int64_t item, int) {
      const int64_t batch = item / columns.count, column = item % columns.count;
      const Panel& panel = product.panels[batches.differs(batch)][columns.differs(column)];
      memory plain(panel.plain, engine(), panelData(batch, column));
      memory ordered(panel.packed, engine(), packed + static_cast<size_t>(item) * product.panelBytes);
      panel.packing.execute(stream(), plain, ordered);
    });
  }
  shareItems(product.cut.pieces(), [&](int64_t item, int) {
    const int64_t column = item % columns.count, row = item / columns.count % rows.count;
    const int64_t batch = item / columns.count / rows.count;
    const Piece& piece = product.pieces[batches.differs(batch)][rows.differs(row)][columns.differs(column)];
    const int64_t firstBatch = batches.begin(batch), firstRow = rows.begin(row), firstColumn = columns.begin(column);
    void* const weights = packs ? packed + static_cast<size_t>(batch * columns.count + column) * product.panelBytes
                                : panelData(batch, column);
    piece.matmul.execute(
        {{DNNL_ARG_SRC, memory(piece.a, engine(), key.a.at(a.data, firstBatch, firstRow, 0))},
         {DNNL_ARG_WEIGHTS, memory(piece.b, engine(), weights)},
         {DNNL_ARG_DST, memory(piece.c, engine(), key.c.at(c.data, firstBatch, firstRow, firstColumn))}});
  });
}

/// Dense scratch memory in the shape of a tensor; a batch that repeats one matrix keeps one.
TensorDesc scratchLike(Scratch& scratch, const TensorDesc& tensor, DType dtype) {
  TensorDesc dense = tensor;
  dense.dtype = dtype;
  const bool repeated = tensor.rank == 3 && tensor.strides[0] == 0;
  int64_t stride = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    dense.strides[i] = i == 0 && repeated ? 0 : stride;
    stride *= i == 0 && repeated ? 1 : tensor.shape[i];
  }
  dense.data = scratch.bytes(static_cast<size_t>(stride * traitsOf(dtype).blockBytes));
  return dense;
}

TensorDesc denseCopy(Scratch& scratch, const TensorDesc& tensor, DType dtype) {
  const TensorDesc dense = scratchLike(scratch, tensor, dtype);
  TensorDesc from = tensor, to = dense;
  if (tensor.rank == 3 && tensor.strides[0] == 0) from.shape[0] = to.shape[0] = 1;
  copy(from, to, 1);
  return dense;
}

TensorDesc widened(Scratch& scratch, const TensorDesc& tensor) {
  return tensor.dtype == DType::f32 ? tensor : denseCopy(scratch, tensor, DType::f32);
}

/// A row or a column whose elements are apart: oneDNN takes it for a dense one.
bool isStridedVector(const TensorDesc& tensor) {
  const int32_t row = tensor.rank - 2, column = tensor.rank - 1;
  return (tensor.shape[row] == 1 && tensor.shape[column] > 1 && tensor.strides[column] != 1) ||
         (tensor.shape[column] == 1 && tensor.shape[row] > 1 && tensor.strides[row] != 1);
}

// --- bfloat16 and float16 through float32
// ----------------------------------------------------------------------------------
//
// Some processors multiply bfloat16 more slowly than float32, or not at all, and few sum products of float16 in
// float32. There, tiles of the operands are widened into scratch memory that stays in the cache, and float32 products
// run on them.

struct Extent {
  int64_t from, length;
};

/// The part of a matrix (or of every matrix of a batch) that a tile covers; rows and columns are those of op(tensor).
TensorDesc tileOf(const TensorDesc& tensor, bool transposed, Extent rows, Extent columns) {
  TensorDesc tile = tensor;
  const int32_t row = tensor.rank - (transposed ? 1 : 2), column = tensor.rank - (transposed ? 2 : 1);
  const int64_t offset = rows.from * tensor.strides[row] + columns.from * tensor.strides[column];
  tile.data = static_cast<std::byte*>(tensor.data) + offset * traitsOf(tensor.dtype).blockBytes;
  tile.shape[row] = rows.length;
  tile.shape[column] = columns.length;
  return tile;
}

void multiplyWidened(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                     float alpha, bool accumulate) {
  constexpr int64_t kRows = 512, kColumns = 4096, kDepth = 4096;
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const bool direct = c.dtype == DType::f32;
  for (int64_t column = 0; column < n; column += kColumns) {
    const Extent columns{column, std::min(kColumns, n - column)};
    Scratch ofColumns;
    TensorDesc wideB;
    if (k <= kDepth) wideB = widened(ofColumns, tileOf(b, transposeB, {0, k}, columns));
    for (int64_t row = 0; row < m; row += kRows) {
      const Extent rows{row, std::min(kRows, m - row)};
      const TensorDesc target = tileOf(c, false, rows, columns);
      Scratch ofRows;
      const TensorDesc sums = direct ? target : scratchLike(ofRows, target, DType::f32);
      for (int64_t at = 0; at < k; at += kDepth) {
        const Extent depth{at, std::min(kDepth, k - at)};
        Scratch ofDepth;
        if (k > kDepth) wideB = widened(ofDepth, tileOf(b, transposeB, depth, columns));
        const TensorDesc wideA = widened(ofDepth, tileOf(a, transposeA, rows, depth));
        multiply(wideA, transposeA, wideB, transposeB, sums, alpha, at > 0 || (direct && accumulate));
      }
      if (direct) continue;
      if (accumulate)
        add(sums, target, 1);
      else
        copy(sums, target, 1);
    }
  }
}

/// Whether sums in f64 take a fraction of a millisecond at most. Fewer rows do not pay for widening b.
bool isSmall(const TensorDesc& a, const TensorDesc& b, const TensorDesc& c) {
  constexpr int64_t kRows = 8, kElements = 1 << 15;
  for (const TensorDesc* tensor : {&a, &b, &c})
    if (tensor->dtype != DType::f32 || elementsOf(*tensor) > kElements) return false;
  return c.shape[c.rank - 2] >= kRows;
}

/// On Arm it does in plain loops, unless it was built with the Arm Compute Library, which neither Debian's is nor ours.
bool onednnMultipliesBfloat16() {
  static const bool supported = !HWY_ARCH_ARM && [] {
    const Operand operand(TensorDesc{nullptr, DType::bf16, 2, {16, 16}, {16, 1}}, false);
    try {
      make({operand, operand, operand, 1, false, 1});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return supported;
}

/// Intel's cores with AVX512-BF16 and FP16 but without AMX: VDPBF16PS does less work there than float32 FMAs (measured:
/// 87 against 150 GFLOP/s a core). A rule, not a measurement at start-up, so that results are the same every time.
bool slowBfloat16() { return isIntel() && dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx10_1_512; }

/// Widening reads and writes each operand once more; that pays where every element takes part in enough
/// multiplications.
bool widenPays(int64_t m, int64_t n, int64_t k) {
  constexpr double kEnough = 128;
  return 1.0 / static_cast<double>(m) + 1.0 / static_cast<double>(n) + 1.0 / static_cast<double>(k) < 1.0 / kEnough;
}

}  // namespace

void matmul(TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha, bool accumulate) {
  if (elementsOf(c) == 0) return;
  if (elementsOf(a) == 0) {
    if (!accumulate) fill(c, 0);
    return;
  }
  if (isQuantised(b.dtype)) {
    if (transposeB && c.shape[0] <= kFewRows) return multiplyFewRows(a, b, c, alpha, accumulate);
    return multiplyQuantised(a, b, transposeB, c, alpha, accumulate);
  }
  if (isStridedVector(a) || isStridedVector(b) || isStridedVector(c)) {
    Scratch scratch;
    const TensorDesc denseA = denseCopy(scratch, a, a.dtype), denseB = denseCopy(scratch, b, b.dtype);
    const TensorDesc denseC = accumulate ? denseCopy(scratch, c, c.dtype) : scratchLike(scratch, c, c.dtype);
    matmul(denseA, transposeA, denseB, transposeB, denseC, alpha, accumulate);
    return copy(denseC, c, 1);
  }
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  if (c.rank == 2 && m == 1 && !transposeA && transposeB && b.strides[1] == 1)
    return multiplyOneRow(a, b, c, alpha, accumulate);
  if (isSmall(a, b, c)) return multiplySmall(a, transposeA, b, transposeB, c, alpha, accumulate);
  const bool widen = a.dtype != b.dtype || a.dtype == DType::f16;
  if (widen || (a.dtype == DType::bf16 && (!onednnMultipliesBfloat16() || (slowBfloat16() && widenPays(m, n, k)))))
    multiplyWidened(a, transposeA, b, transposeB, c, alpha, accumulate);
  else
    multiply(a, transposeA, b, transposeB, c, alpha, accumulate);
}

void prepareProducts() {
  // Zeros, so that both types can share them; large enough for the processor's matrix units.
  constexpr int64_t kSide = 64;
  std::vector<float> a(kSide * kSide), b(kSide * kSide), c(kSide * kSide);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto square = [dtype](std::vector<float>& values) {
      return TensorDesc{values.data(), dtype, 2, {kSide, kSide}, {kSide, 1}};
    };
    matmul(square(a), false, square(b), false, square(c), 1, false);
  }
}

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

std::string instructionSets() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;  // those that the kernels were compiled for
  return std::string("Highway ") + hwy::TargetName(targets & -targets) + ", oneDNN ISA " +
         std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
}

std::vector<std::pair<std::string, std::string>> libraries() {
  const dnnl_version_t* dnnl = dnnl_version();
  return {
      {"oneDNN", std::to_string(dnnl->major) + "." + std::to_string(dnnl->minor) + "." + std::to_string(dnnl->patch)},
      {"Highway", std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." + std::to_string(HWY_PATCH)}};
}

}  // namespace mora::cpu
