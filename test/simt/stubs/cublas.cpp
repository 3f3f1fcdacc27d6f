// A library with cuBLAS's function names, which computes nothing: STUB_VERSION is its major version, STUB_CREATE its
// answer to the creation of a handle. For tests of which library is chosen.
#include <cstddef>
#include <cstdint>

extern "C" {
int32_t cublasCreate_v2(void** handle) {
  *handle = nullptr;
  return STUB_CREATE;
}
int32_t cublasGetProperty(int32_t property, int* value) {
  *value = property == 0 ? STUB_VERSION : 7;
  return 0;
}
const char* cublasGetStatusString(int32_t) { return "no"; }
int32_t cublasDestroy_v2(void*) { return 0; }
int32_t cublasSetStream_v2(void*, void*) { return 0; }
int32_t cublasSetWorkspace_v2(void*, void*, size_t) { return 0; }
int32_t cublasSetMathMode(void*, int32_t) { return 0; }
int32_t cublasSetAtomicsMode(void*, int32_t) { return 0; }
int32_t cublasGemmEx() { return 15; }
#ifndef STUB_IS_OLD
int32_t cublasGemmStridedBatchedEx() { return 15; }
#endif
}
