// What the libraries that connect ranks must not do to the process that opens them.
#pragma once
#include "core/system/libraries.h"

namespace mora::ranks {

/// UCX and Open MPI rewrite functions of the C library as they are opened, while other threads may be inside them, in
/// order to hear of freed memory; UCX also takes the handlers of faults, of which V8 needs one for WebAssembly.
/// Debian's gloo brings both. Asks them not to, unless the environment says otherwise. Before any of them is opened.
inline void leaveProcessAlone() {
  suggestToLibraries("OMPI_MCA_memory", "^patcher");
  suggestToLibraries("UCX_MEM_MMAP_HOOK_MODE", "none");
  suggestToLibraries("UCX_ERROR_SIGNALS", "");
}

}  // namespace mora::ranks
