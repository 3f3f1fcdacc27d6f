#include "cuda/products/products.h"

#include <limits>

#include "cuda/launch_cost.h"
#include "cuda/runtime/check.h"

namespace mora::cuda {
namespace {

void expectProduct(int64_t m, int64_t n, int64_t k, int64_t batch, const Products::Matrix& a, const Products::Matrix& b,
                   const Products::Matrix& c, bool accumulate) {
  const auto bytesOf = [batch](const Products::Matrix& matrix, int64_t elements) {
    const int64_t matrices = matrix.batchStride == 0 ? 1 : batch;
    return static_cast<uint64_t>(matrices * elements * (matrix.type == CublasType::f32 ? 4 : 2));
  };
  launchCost.bytes += bytesOf(a, m * k) + bytesOf(b, k * n) + (accumulate ? 2 : 1) * bytesOf(c, m * n);
  launchCost.flops += static_cast<uint64_t>(2 * m * n * k) * static_cast<uint64_t>(batch);
}

}  // namespace

Products::Products(const CublasTable& cublas, CublasHandle handle, cudaStream_t stream, void* workspace)
    : cublas_(cublas), handle_(handle) {
  check(cublas_.setStream(handle_, stream), "cublasSetStream");
  check(cublas_.setMathMode(handle_, CublasMath::fullPrecisionSums), "cublasSetMathMode");
  check(cublas_.setAtomicsMode(handle_, CublasAtomics::notAllowed), "cublasSetAtomicsMode");
  check(cublas_.setWorkspace(handle_, workspace, kWorkspace), "cublasSetWorkspace");
}

void Products::multiply(int64_t m, int64_t n, int64_t k, int64_t batch, const Matrix& a, const Matrix& b,
                        const Matrix& c, float alpha, bool accumulate) const {
  for (const int64_t number : {m, n, k, batch, a.leading, b.leading, c.leading})
    if (number > std::numeric_limits<int>::max())
      throw Unsupported("a product of matrices with 2^31 rows, columns or more");
  expectProduct(m, n, k, batch, a, b, c, accumulate);
  const auto narrow = [](int64_t number) { return static_cast<int>(number); };
  const auto operation = [](const Matrix& matrix) {
    return matrix.transposed ? CublasOperation::transpose : CublasOperation::none;
  };
  const float beta = accumulate ? 1 : 0;
  const CublasCompute compute =
      allowTf32_ && a.type == CublasType::f32 ? CublasCompute::f32FastTf32 : CublasCompute::f32;
  if (batch == 1)
    return check(cublas_.gemmEx(handle_, operation(a), operation(b), narrow(m), narrow(n), narrow(k), &alpha, a.data,
                                a.type, narrow(a.leading), b.data, b.type, narrow(b.leading), &beta, c.data, c.type,
                                narrow(c.leading), compute, CublasAlgorithm::standard),
                 "cublasGemmEx");
  check(cublas_.gemmStridedBatchedEx(handle_, operation(a), operation(b), narrow(m), narrow(n), narrow(k), &alpha,
                                     a.data, a.type, narrow(a.leading), a.batchStride, b.data, b.type,
                                     narrow(b.leading), b.batchStride, &beta, c.data, c.type, narrow(c.leading),
                                     c.batchStride, narrow(batch), compute, CublasAlgorithm::standard),
        "cublasGemmStridedBatchedEx");
}

void Products::check(CublasStatus status, const char* what) const {
  if (status == 0) return;
  throw Error("cublas", std::string(what) + ": " + cublas_.getStatusString(status));
}

}  // namespace mora::cuda
