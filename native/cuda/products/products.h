// cuBLAS on one stream, with its own workspace so that results have the same bits every time.
#pragma once
#include "cuda/products/cublas.h"

namespace mora::cuda {

class Products {
 public:
  /// The size that NVIDIA recommends for Hopper; older devices use less.
  static constexpr size_t kWorkspace = size_t{32} << 20;

  /// @param handle of the library, for the stream's device @param workspace kWorkspace bytes of device memory. Throws
  /// Error. Lives as long as the process.
  Products(const CublasTable& cublas, CublasHandle handle, cudaStream_t stream, void* workspace);

  /// Whether products of f32 operands may round them to TF32; off at first.
  void allowTf32(bool allow) { allowTf32_ = allow; }

  /// A matrix for cuBLAS: stored in columns, `leading` elements apart.
  struct Matrix {
    void* data;
    CublasType type;
    bool transposed;
    int64_t leading, batchStride;
  };
  /// c [m, n] = alpha op(a) [m, k] op(b) [k, n] + (accumulate ? c : 0), `batch` times. Throws Error.
  void multiply(int64_t m, int64_t n, int64_t k, int64_t batch, const Matrix& a, const Matrix& b, const Matrix& c,
                float alpha, bool accumulate) const;

 private:
  void check(CublasStatus status, const char* what) const;

  const CublasTable& cublas_;
  CublasHandle handle_;
  bool allowTf32_ = false;
};

}  // namespace mora::cuda
