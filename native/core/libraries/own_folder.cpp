#include "core/libraries/own_folder.h"

#include <dlfcn.h>

namespace mora {

std::filesystem::path folderOfThisLibrary() {
  static const char here = 0;
  Dl_info info;
  if (dladdr(&here, &info) == 0 || !info.dli_fname) return {};
  return std::filesystem::absolute(info.dli_fname).parent_path();
}

}  // namespace mora
