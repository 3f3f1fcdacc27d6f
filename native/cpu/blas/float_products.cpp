// Products by a BLAS of the system, opened at run time: Accelerate on macOS, elsewhere the library that is named
// libblas. Without one, own loops multiply.
#include <algorithm>
#include <cstring>
#include <string>

#include "core/system/libraries.h"
#include "cpu/kernels.h"
#include "cpu/products/product_cut.h"
#include "cpu/products/product_library.h"
#include "cpu/products/small_products.h"
#include "cpu/team.h"

namespace mora::cpu {
namespace {

#ifdef __APPLE__
constexpr const char *kName = "Accelerate", *kPath = "/System/Library/Frameworks/Accelerate.framework/Accelerate";
#else
constexpr const char *kName = "BLAS", *kPath = "libblas.so.3";
#endif

/// CBLAS: https://www.netlib.org/blas/blast-forum/cblas.tgz
enum CblasOrder : int { rowMajor = 101 };
enum CblasTranspose : int { asStored = 111, transposed = 112 };
using Sgemm = void(CblasOrder, CblasTranspose, CblasTranspose, int m, int n, int k, float alpha, const float* a,
                   int lda, const float* b, int ldb, float beta, float* c, int ldc);

struct Blas {
  Sgemm* sgemm = nullptr;
  int (*setThreading)(unsigned) = nullptr;  // of Accelerate, from macOS 15 on
};

Blas open() {
  // Members of the team call it in parallel; it reads these when it is opened.
  suggestToLibraries("VECLIB_MAXIMUM_THREADS", "1");
  suggestToLibraries("OPENBLAS_NUM_THREADS", "1");
  std::string why;
  void* const library = openLibrary(kPath, why);
  if (!library) return {};
  return {reinterpret_cast<Sgemm*>(addressIn(library, "cblas_sgemm")),
          reinterpret_cast<int (*)(unsigned)>(addressIn(library, "BLASSetThreading"))};
}

const Blas& blas() {
  static const Blas opened = open();
  return opened;
}

/// A matrix as a BLAS takes it: rows, or columns if it is transposed, of neighbouring elements.
struct Matrix {
  float* data;
  CblasTranspose order;
  int64_t stride, row, column;

  float* at(int64_t i, int64_t j) const { return data + i * row + j * column; }
};

/// Matrix `index` of a batch, or a dense copy of it if neither rows nor columns have neighbouring elements.
Matrix matrixOf(Scratch& scratch, const TensorDesc& tensor, bool transpose, int64_t index) {
  auto* data = static_cast<float*>(tensor.data) + (tensor.rank == 3 ? index * tensor.strides[0] : 0);
  const int32_t rowAxis = tensor.rank - (transpose ? 1 : 2), columnAxis = tensor.rank - (transpose ? 2 : 1);
  const int64_t rows = tensor.shape[rowAxis], columns = tensor.shape[columnAxis];
  int64_t row = tensor.strides[rowAxis], column = tensor.strides[columnAxis];
  // The stride of a dimension of 1 has no meaning.
  if (columns == 1) column = 1;
  if (rows == 1) row = column == 1 ? columns : 1;
  if (column != 1 && row != 1) {
    auto* const copy = scratch.take<float>(rows * columns);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) copy[i * columns + j] = data[i * row + j * column];
    data = copy, row = columns, column = 1;
  }
  if (column == 1) return {data, asStored, std::max(row, columns), row, column};
  return {data, transposed, std::max(column, rows), row, column};
}

/// A part of the rows and columns of c, and the matrix of the batch.
struct Piece {
  int64_t batch, row, rows, column, columns;
};

void multiplyPiece(const Piece& piece, const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB,
                   const TensorDesc& c, int64_t depth, float alpha, bool accumulate) {
  constexpr unsigned kSingleThreaded = 1;
  thread_local const bool alone [[maybe_unused]] = blas().setThreading && blas().setThreading(kSingleThreaded) == 0;
  Scratch scratch;
  const Matrix left = matrixOf(scratch, a, transposeA, piece.batch);
  const Matrix right = matrixOf(scratch, b, transposeB, piece.batch);
  const Matrix result = matrixOf(scratch, c, false, piece.batch);
  const auto number = [](int64_t value) { return static_cast<int>(value); };
  const float* const fromA = left.at(piece.row, 0);
  const float* const fromB = right.at(0, piece.column);
  float* const toC = result.at(piece.row, piece.column);
  const float beta = accumulate ? 1 : 0;
  const int m = number(piece.rows), n = number(piece.columns), k = number(depth);
  if (result.order == asStored)
    return blas().sgemm(rowMajor, left.order, right.order, m, n, k, alpha, fromA, number(left.stride), fromB,
                        number(right.stride), beta, toC, number(result.stride));
  // c^T = b^T a^T
  const auto other = [](CblasTranspose order) { return order == asStored ? transposed : asStored; };
  blas().sgemm(rowMajor, other(right.order), other(left.order), n, m, k, alpha, fromB, number(right.stride), fromA,
               number(left.stride), beta, toC, number(result.stride));
}

/// Whether rows or columns of c have neighbouring elements, so that results can be written in place.
bool isWritable(const TensorDesc& c) {
  const int32_t row = c.rank - 2, column = c.rank - 1;
  return c.strides[row] == 1 || c.strides[column] == 1 || c.shape[row] == 1 || c.shape[column] == 1;
}

}  // namespace

void multiplyFloats(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                    float alpha, bool accumulate) {
  for (const TensorDesc* tensor : {&a, &b, &c})
    if (tensor->dtype != DType::f32) unsupported(std::string("matmul of ") + traitsOf(tensor->dtype).name);
  if (!blas().sgemm || !isWritable(c)) return multiplySmall(a, transposeA, b, transposeB, c, alpha, accumulate);

  constexpr int64_t kSmall = 1 << 20;  // multiplications that end before a second thread has woken up
  constexpr int64_t kPiece = 1 << 23;  // multiplications of a piece
  constexpr int64_t kMostPieces = 4;   // pieces per member
  constexpr int64_t kSide = 64;        // rows or columns of a piece are multiples of it
  const int64_t batch = c.rank == 3 ? c.shape[0] : 1, rows = c.shape[c.rank - 2], columns = c.shape[c.rank - 1];
  const int64_t depth = a.shape[a.rank - (transposeA ? 2 : 1)], members = teamSize();
  const double work = static_cast<double>(rows * columns) * static_cast<double>(depth);
  const double pieces = std::clamp(work * static_cast<double>(batch) / kPiece, static_cast<double>(members),
                                   static_cast<double>(members * kMostPieces));
  const bool alone = members == 1 || work * static_cast<double>(batch) < kSmall;
  const int64_t wanted = alone ? 1 : (static_cast<int64_t>(pieces) + batch - 1) / batch;
  const Axis whole{rows, rows, 1}, byRows = rows >= columns ? Axis::inParts(rows, wanted, kSide) : whole;
  const Axis byColumns = rows >= columns ? Axis{columns, columns, 1} : Axis::inParts(columns, wanted, kSide);
  const int64_t ofOne = byRows.count * byColumns.count;
  shareItems(batch * ofOne, [&](int64_t item, int) {
    const int64_t row = item % ofOne / byColumns.count, column = item % byColumns.count;
    const Piece piece{item / ofOne, byRows.begin(row), byRows.sizeOf(row), byColumns.begin(column),
                      byColumns.sizeOf(column)};
    multiplyPiece(piece, a, transposeA, b, transposeB, c, depth, alpha, accumulate);
  });
}

bool multipliesBfloat16() { return false; }
bool slowBfloat16() { return true; }
bool hasFastBfloat16() { return false; }
bool hasInt8Products() { return false; }

void matmulInt8(TensorDesc, TensorDesc, bool, TensorDesc, bool) { unsupported("matmulInt8 without oneDNN"); }

std::pair<std::string, std::string> productLibrary() {
  return {kName, blas().sgemm ? "of the system" : "not found, which makes products slow"};
}

std::string productInstructions() { return kName; }

}  // namespace mora::cpu
