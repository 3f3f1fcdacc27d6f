// Turns a page fault in device memory into a sentence: what was accessed, by whom, and why that is wrong.
#pragma once

namespace simt {

/// Installs the handler, once per process.
void watchFaults();
/// Gives the calling OS thread a separate stack for the handler, so that an overflowing fiber is reported too.
void watchThisThread();

}  // namespace simt
