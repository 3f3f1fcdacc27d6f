// The few functions of cuBLAS that products need, as a table. It is filled from the real library, which is opened at
// run time because most build machines have none, or by the emulator's stand-in. Values and argument orders are those
// of cuBLAS 12 and 13; cublas_abi.cpp compares them with the real header if there is one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

using CublasHandle = void*;
using CublasStatus = int32_t;  // 0 is success

/// Whether an operand is used as stored (in columns) or transposed.
enum class CublasOperation : int32_t { none = 0, transpose = 1 };
enum class CublasType : int32_t { f32 = 0, f16 = 2, bf16 = 14 };
/// f32FastTf32: f32 operands are rounded to TF32 first.
enum class CublasCompute : int32_t { f32 = 68, f32FastTf32 = 77 };
enum class CublasAlgorithm : int32_t { standard = -1 };
/// Flags: partial sums of 16-bit products stay in f32.
enum class CublasMath : int32_t { fullPrecisionSums = 16 };
enum class CublasAtomics : int32_t { notAllowed = 0 };
enum class CublasProperty : int32_t { major = 0, minor = 1 };

/// C = alpha op(A) op(B) + beta C, all in columns: element (i, j) of A is A[i + j * lda]. op(A) is [m, k], op(B) [k,
/// n], C [m, n]. alpha and beta point to floats in host memory, read before the call returns.
struct CublasTable {
  CublasStatus (*create)(CublasHandle* handle);
  CublasStatus (*destroy)(CublasHandle handle);
  CublasStatus (*getProperty)(CublasProperty property, int* value);  // needs no device
  CublasStatus (*setStream)(CublasHandle handle, cudaStream_t stream);
  CublasStatus (*setWorkspace)(CublasHandle handle, void* workspace, size_t bytes);
  CublasStatus (*setMathMode)(CublasHandle handle, CublasMath mode);
  CublasStatus (*setAtomicsMode)(CublasHandle handle, CublasAtomics mode);
  const char* (*getStatusString)(CublasStatus status);
  CublasStatus (*gemmEx)(CublasHandle handle, CublasOperation operationA, CublasOperation operationB, int m, int n,
                         int k, const void* alpha, const void* a, CublasType typeA, int lda, const void* b,
                         CublasType typeB, int ldb, const void* beta, void* c, CublasType typeC, int ldc,
                         CublasCompute compute, CublasAlgorithm algorithm);
  /// Matrix i of a batch is `stride` elements after matrix i - 1; strides of A and B may be 0.
  CublasStatus (*gemmStridedBatchedEx)(CublasHandle handle, CublasOperation operationA, CublasOperation operationB,
                                       int m, int n, int k, const void* alpha, const void* a, CublasType typeA, int lda,
                                       long long strideA, const void* b, CublasType typeB, int ldb, long long strideB,
                                       const void* beta, void* c, CublasType typeC, int ldc, long long strideC,
                                       int batchCount, CublasCompute compute, CublasAlgorithm algorithm);
};

/// A library that was opened.
struct Cublas {
  CublasTable table;
  std::string path;

  /// For example "13.4".
  std::string version() const;
};

/// Folders to search, in order.
std::vector<std::filesystem::path> cublasFolders();
/// The library in use, opened at the first call: the newest one that works with a driver for CUDA `driver` (as 12040).
/// Returns null, with the places that were searched in `absence`, if there is none.
const Cublas* openCublas(int driver, Absence& absence);
/// Switches to the library after the one in use; null if there is no other.
const Cublas* openNextCublas();
/// The emulator's implementation (test/simt), linked into the emulated library only.
const Cublas* emulatedCublas();

}  // namespace mora::cuda
