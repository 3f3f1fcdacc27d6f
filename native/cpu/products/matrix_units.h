// The matrix units of x86 processors (AMX): whether they can be used.
#pragma once

namespace mora::cpu {

/// True where the processor multiplies matrices of bfloat16 by instructions, and the system lets this process use them.
bool hasMatrixUnits();

}  // namespace mora::cpu
