// Matrix products, a bias and its gradient.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void matmul(In a, Flag transposeA, Blocks b, Flag transposeB, Out c, Factor alpha, Flag accumulate) {
  Check check("matmul");
  check.tensor("c", c).that(c.rank() == 2 || c.rank() == 3, "2 or 3 dimensions").floats();
  const int64_t m = c.size(-2), n = c.size(-1);
  check.tensor("a", a).rank(c.rank()).floats();
  const int64_t k = a.size(transposeA ? -2 : -1);
  const int64_t batch = c.rank() == 3 ? c.size(0) : 1;
  const auto fits = [&](const Tensor& operand, bool transpose, int64_t rows, int64_t columns) {
    const int64_t first = transpose ? columns : rows, second = transpose ? rows : columns;
    if (operand.rank() == 3)
      check.shape({batch, first, second});
    else
      check.shape({first, second});
  };
  fits(a, transposeA, m, k);
  check.tensor("b", b).rank(c.rank());
  const bool blocks = isQuantised(b.dtype()) && !transposeA && c.rank() == 2;
  check.that(b.dtype() == a.dtype() || b.dtype() == DType::f32 || blocks,
             [&] { return std::string(traitsOf(a.dtype()).name) + " or float32, or blocks of a matrix"; });
  fits(b, transposeB, k, n);
  if (blocks) {
    check.rows();
    check.tensor("c", c).rows();
    check.tensor("a", a).rows();
  }
  check.tensor("c", c).that(a.dtype() == c.dtype() || c.dtype() == DType::f32,
                            [&] { return std::string(traitsOf(a.dtype()).name) + " or float32"; });
  check.enqueue(&Backend::matmul, a, transposeA, b, transposeB, c, alpha, accumulate);
}

void matmulInt8(In a, In b, Flag transposeB, Out c, Flag accumulate) {
  Check check("matmulInt8");
  check.tensor("b", b).rank(2).floats().rows();
  check.tensor("a", a).rank(2).floats().rows().shape({a.size(0), b.size(transposeB ? 1 : 0)});
  check.tensor("c", c).rank(2).rows().shape({a.size(0), b.size(transposeB ? 0 : 1)});
  check.that(a.dtype() == c.dtype() || c.dtype() == DType::f32,
             [&] { return std::string(traitsOf(a.dtype()).name) + " or float32"; });
  check.enqueue(&Backend::matmulInt8, a, b, transposeB, c, accumulate);
}

void addBias(In bias, InOut y) {
  Check check("addBias");
  check.tensor("y", y).rank(2).floats().rows();
  check.tensor("bias", bias).shape({y.size(1)}).floats().rows();
  check.enqueue(&Backend::addBias, bias, y);
}

void columnSums(In x, Out sums, Flag accumulate) {
  Check check("columnSums");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("sums", sums).shape({x.size(1)}).dtype(DType::f32).dense();
  check.enqueue(&Backend::columnSums, x, sums, accumulate);
}

}  // namespace mora::operations
