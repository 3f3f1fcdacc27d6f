// The arithmetic of the CPU backend: one function per operation of core/operations.def under the same name, without the
// stream. They run on the stream's worker thread, use its team inside, and throw on failure.
//
// An absent argument has a null `data`. Results do not depend on scheduling: every reduction has a fixed order for a
// fixed number of threads.
#pragma once
#include "core/backend.h"

namespace mora::cpu {

#define MORA_OPERATION(name, ...) void name(__VA_ARGS__);
#include "core/operations.def"

}  // namespace mora::cpu
