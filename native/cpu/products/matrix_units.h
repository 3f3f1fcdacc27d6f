// Whether the matrix units of x86 processors (AMX) are usable.
#pragma once

namespace mora::cpu {

/// True if the processor multiplies matrices of bfloat16 by instructions, and the system allows this process to use
/// them.
bool hasMatrixUnits();

/// Whether it has tiles (AMX) that the system does not let this process use.
bool hasForbiddenTiles();

}  // namespace mora::cpu
