// Products on the CPU by oneDNN: a primitive is made once per set of shapes and strides, and cached.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "cpu/kernels.h"

namespace mora::cpu {

/// Runs one small product of each type, so that oneDNN's global objects exist from here on.
void prepareProducts();
/// Whether products of up to kMostFewRows rows on this thread sum each row as if it were alone.
void setRowsAlone(bool alone);
/// The most rows whose products read the weight in its stored form.
int64_t mostStoredRows();
/// True if the processor multiplies bfloat16 faster than float32.
bool hasFastBfloat16();
/// True if the processor multiplies 8-bit integers with exact sums (VNNI, AMX); oneDNN's saturate on others.
bool hasInt8Products();
/// The instruction sets that oneDNN and Highway use, for people.
std::string instructionSets();
/// Names and versions of the libraries that do the arithmetic.
std::vector<std::pair<std::string, std::string>> libraries();

}  // namespace mora::cpu
