// Turns a page fault in device memory into a sentence: who touched what, and why that is wrong.
#pragma once

namespace simt {

/// Installs the handler, once per process.
void watchFaults();
/// Gives the calling OS thread a stack of its own for the handler, so that an overflowing fiber is reported too.
void watchThisThread();

}  // namespace simt
