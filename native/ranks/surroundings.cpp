#include "ranks/surroundings.h"

#include <cstdlib>

namespace mora::ranks {

void leaveProcessAlone() {
  constexpr int keep = 0;
  setenv("OMPI_MCA_memory", "^patcher", keep);
  setenv("UCX_MEM_MMAP_HOOK_MODE", "none", keep);
  setenv("UCX_ERROR_SIGNALS", "", keep);
}

}  // namespace mora::ranks
