// Names for people: what a kernel is called.
#pragma once
#include <string>

namespace simt {

/// The function's name with its template arguments, from the symbols of the program or library that has it.
std::string nameOf(const void* function);

}  // namespace simt
