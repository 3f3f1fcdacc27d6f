// Products on the CPU: each goes to own kernels, or to the library (product_library.h).
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "cpu/kernels.h"

namespace mora::cpu {

/// Runs one small product of each type, so that the library's global objects exist from here on.
void prepareProducts();
/// Whether products of up to kMostFewRows rows on this thread sum each row as if it were alone.
void setRowsAlone(bool alone);
/// The most rows whose products read the weight in its stored form.
int64_t mostStoredRows();
/// The instruction sets that Highway and the library of products use, for people.
std::string instructionSets();
/// Names and versions of the libraries that do the arithmetic.
std::vector<std::pair<std::string, std::string>> libraries();

}  // namespace mora::cpu
