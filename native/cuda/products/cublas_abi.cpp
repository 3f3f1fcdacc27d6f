// Compares the declarations of cublas.h with cuBLAS's own header if this machine has it; contains nothing else.
#include "cuda/products/cublas.h"

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>

#include "core/libraries/same_signature.h"

namespace mora::cuda {
namespace {

// The unary plus makes a pointer from a function's name, and from a cast that selects an overload.
#define MORA_AGREES(member, function) \
  static_assert(SameSignature<decltype(CublasTable::member), decltype(+(function))>::value, #function)
MORA_AGREES(create, cublasCreate_v2);
MORA_AGREES(destroy, cublasDestroy_v2);
MORA_AGREES(getProperty, cublasGetProperty);
MORA_AGREES(setStream, cublasSetStream_v2);
MORA_AGREES(setWorkspace, cublasSetWorkspace_v2);
MORA_AGREES(setMathMode, cublasSetMathMode);
MORA_AGREES(setAtomicsMode, cublasSetAtomicsMode);
MORA_AGREES(getStatusString, cublasGetStatusString);
MORA_AGREES(gemmStridedBatchedEx,
            static_cast<cublasStatus_t (*)(
                cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                cudaDataType, int, long long, const void*, cudaDataType, int, long long, const void*, void*,
                cudaDataType, int, long long, int, cublasComputeType_t, cublasGemmAlgo_t)>(cublasGemmStridedBatchedEx));
MORA_AGREES(
    gemmEx,
    static_cast<cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                   const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                                   cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t)>(cublasGemmEx));
#undef MORA_AGREES

#define MORA_EQUAL(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs), #theirs)
MORA_EQUAL(0, CUBLAS_STATUS_SUCCESS);
MORA_EQUAL(CublasOperation::none, CUBLAS_OP_N);
MORA_EQUAL(CublasOperation::transpose, CUBLAS_OP_T);
MORA_EQUAL(CublasType::f32, CUDA_R_32F);
MORA_EQUAL(CublasType::f16, CUDA_R_16F);
MORA_EQUAL(CublasType::bf16, CUDA_R_16BF);
MORA_EQUAL(CublasCompute::f32, CUBLAS_COMPUTE_32F);
MORA_EQUAL(CublasCompute::f32FastTf32, CUBLAS_COMPUTE_32F_FAST_TF32);
MORA_EQUAL(CublasAlgorithm::standard, CUBLAS_GEMM_DEFAULT);
MORA_EQUAL(CublasMath::fullPrecisionSums, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
MORA_EQUAL(CublasAtomics::notAllowed, CUBLAS_ATOMICS_NOT_ALLOWED);
MORA_EQUAL(CublasProperty::major, MAJOR_VERSION);
MORA_EQUAL(CublasProperty::minor, MINOR_VERSION);
#undef MORA_EQUAL

}  // namespace
}  // namespace mora::cuda
#endif
