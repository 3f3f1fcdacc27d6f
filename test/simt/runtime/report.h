// Readable names of kernels.
#pragma once
#include <string>

namespace simt {

/// The function's name with its template arguments, from the symbols of its program or library.
std::string nameOf(const void* function);

}  // namespace simt
