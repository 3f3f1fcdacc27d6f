// Decompositions of a matrix in host memory, computed in double precision by Eigen.
#pragma once
#include <cstdint>
#include <vector>

namespace mora {

/// A row-major matrix in host memory.
struct HostMatrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
};

/// matrix [m, n] = u [m, p] diag(s [p]) v [n, p]ᵀ with p = min(m, n), s falling.
struct SingularValues {
  std::vector<double> s;
  HostMatrix u, v;
};

/// u and v stay empty unless `vectors`. Throws `non-finite` if a value is not finite.
SingularValues svd(const HostMatrix& matrix, bool vectors);

/// The Q [m, n] of matrix [m, n] = Q R by Householder reflections, m ≥ n: orthonormal columns.
HostMatrix orthonormalColumns(const HostMatrix& matrix);

}  // namespace mora
