#include "core/math/decompositions.h"

// Eigen's own threads are off: decompositions run beside the threads of the CPU's stream, several at a time.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"

namespace mora {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<const RowMajor> viewOf(const HostMatrix& matrix) {
  const auto finite = [](double value) { return std::isfinite(value); };
  if (!std::ranges::all_of(matrix.values, finite))
    throw Error("non-finite", "A matrix with values that are not finite has no decomposition.");
  return {matrix.values.data(), matrix.rows, matrix.columns};
}

HostMatrix hostMatrix(const Eigen::MatrixXd& matrix) {
  HostMatrix result{matrix.rows(), matrix.cols(), std::vector<double>(static_cast<size_t>(matrix.size()))};
  Eigen::Map<RowMajor>(result.values.data(), result.rows, result.columns) = matrix;
  return result;
}

}  // namespace

SingularValues svd(const HostMatrix& matrix, bool vectors) {
  const Eigen::BDCSVD<Eigen::MatrixXd> decomposition(viewOf(matrix),
                                                     vectors ? Eigen::ComputeThinU | Eigen::ComputeThinV : 0);
  if (decomposition.info() != Eigen::Success)
    throw Error("operation-failed", "The singular value decomposition did not converge.");
  SingularValues result;
  const Eigen::VectorXd& s = decomposition.singularValues();
  result.s.assign(s.begin(), s.end());
  if (!vectors) return result;
  result.u = hostMatrix(decomposition.matrixU());
  result.v = hostMatrix(decomposition.matrixV());
  return result;
}

HostMatrix orthonormalColumns(const HostMatrix& matrix) {
  if (matrix.rows < matrix.columns)
    throw Error("invalid-argument", "orthonormalColumns: expected at least as many rows as columns but received [" +
                                        std::to_string(matrix.rows) + ", " + std::to_string(matrix.columns) + "].");
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(viewOf(matrix));
  return hostMatrix(qr.householderQ() * Eigen::MatrixXd::Identity(matrix.rows, matrix.columns));
}

}  // namespace mora
