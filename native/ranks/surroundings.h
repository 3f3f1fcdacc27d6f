// What the libraries that connect ranks must not do to the process that opens them.
#pragma once

namespace mora::ranks {

/// UCX and Open MPI rewrite functions of the C library as they are opened, while other threads may be inside them, in
/// order to hear of freed memory; UCX also takes the handlers of faults, of which V8 needs one for WebAssembly.
/// Debian's gloo brings both. Asks them not to, unless the environment says otherwise. Before any of them is opened.
void leaveProcessAlone();

}  // namespace mora::ranks
