// Opens cuBLAS as the CUDA backend does, in the folder that MORA_CUBLAS names, and prints what a machine without a GPU can
// know of it. Ends with 1 where it cannot be opened, or lacks a name of the table.
#include <cstdio>

#include "cuda/products/cublas.h"

int main() {
  mora::Absence absence;
  const mora::cuda::Cublas* const library = mora::cuda::openCublas(13000, absence);
  if (!library) {
    std::fprintf(stderr, "%s\n", absence.text().c_str());
    return 1;
  }
  mora::cuda::CublasHandle handle = nullptr;
  const mora::cuda::CublasStatus status = library->table.create(&handle);
  std::printf("%s is cuBLAS %s; every name of the table is there; without a driver cublasCreate answers %d (%s)\n",
              library->path.c_str(), library->version().c_str(), status, library->table.getStatusString(status));
  return status == 0 ? 0 : status == 1 ? 0 : 1;
}
