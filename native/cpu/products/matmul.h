// Products on the CPU, through oneDNN: primitives are made once per set of shapes and strides and kept.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "cpu/kernels.h"

namespace mora::cpu {

/// Makes and runs one small product of each type, so that oneDNN's global objects exist from here on.
void prepareProducts();
/// True where the processor multiplies bfloat16 faster than float32.
bool hasFastBfloat16();
/// True where the processor multiplies 8-bit integers with exact sums (VNNI, AMX): oneDNN's saturate elsewhere.
bool hasInt8Products();
/// What oneDNN and Highway dispatch to here, for people.
std::string instructionSets();
/// Names and versions of the libraries that do the arithmetic.
std::vector<std::pair<std::string, std::string>> libraries();

}  // namespace mora::cpu
