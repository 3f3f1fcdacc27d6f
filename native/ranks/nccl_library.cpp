#include "ranks/nccl_library.h"

#include <filesystem>
#include <optional>
#include <system_error>

#include "core/libraries/nvidia_folders.h"
#include "core/system/libraries.h"

namespace mora::ranks {
namespace {

namespace fs = std::filesystem;

constexpr int kOldest = 21800;
constexpr const char* kName = "libnccl.so.2";
constexpr const char* kRemedy =
    "install it (Debian: libnccl2; with pip: nvidia-nccl-cu13 or nvidia-nccl-cu12), or name its folder in MORA_NCCL";

/// The names of the functions that the library lacks; empty if it has all.
std::string fill(NcclTable& table, void* library) {
  std::string absent;
  resolveFunction(library, "ncclGetVersion", table.getVersion, absent);
  resolveFunction(library, "ncclGetUniqueId", table.getUniqueId, absent);
  resolveFunction(library, "ncclCommInitRankConfig", table.commInitRankConfig, absent);
  resolveFunction(library, "ncclAllReduce", table.allReduce, absent);
  resolveFunction(library, "ncclAllGather", table.allGather, absent);
  resolveFunction(library, "ncclGroupStart", table.groupStart, absent);
  resolveFunction(library, "ncclGroupEnd", table.groupEnd, absent);
  resolveFunction(library, "ncclCommGetAsyncError", table.commGetAsyncError, absent);
  resolveFunction(library, "ncclCommAbort", table.commAbort, absent);
  resolveFunction(library, "ncclGetErrorString", table.getErrorString, absent);
  resolveFunction(library, "ncclGetLastError", table.getLastError, absent);
  return absent;
}

int ncclVersionOf(void* library) {
  const auto ask = reinterpret_cast<decltype(NcclTable::getVersion)>(addressIn(library, "ncclGetVersion"));
  int version = 0;
  return ask && ask(&version) == NcclResult::success ? version : 0;
}

struct Opened {
  std::optional<Nccl> library;
  Absence absence;
};

Opened open() {
  const std::vector<fs::path> folders = nvidiaFolders("MORA_NCCL", {"nvidia/nccl/lib"});
  std::string failures;
  for (const fs::path& folder : folders) {
    const fs::path path = folder / kName;
    std::error_code ignored;
    if (!folder.empty() && !fs::exists(path, ignored)) continue;
    const auto note = [&](const std::string& why) { failures += (failures.empty() ? "" : "; ") + why; };
    std::string why;
    void* const handle = openLibrary(path, why);
    if (!handle) {
      if (!folder.empty()) note(why);
      continue;
    }
    Nccl library{};
    // An old one lacks functions too, but what it needs is to be newer.
    library.version = ncclVersionOf(handle);
    const std::string absent = fill(library.table, handle);
    library.path = fileOfFunction(reinterpret_cast<void*>(library.table.getVersion), kName);
    if (library.version == 0 || (library.version >= kOldest && !absent.empty()))
      note(path.string() + " lacks " + (absent.empty() ? "a version" : absent));
    else if (library.version < kOldest)
      note(library.path + " is NCCL " + ncclVersionText(library.version) + ", and 2.18 or newer is needed");
    else
      return {std::move(library), {}};
  }
  const std::string searched =
      folders.size() > 1 ? "on the loader's path, or where CUDA and pip put it" : "in " + folders.front().string();
  return {std::nullopt,
          {failures.empty() ? std::string("NCCL (") + kName + ") was not found " + searched
                            : "NCCL cannot be used: " + failures,
           kRemedy}};
}

}  // namespace

std::string ncclVersionText(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

const Nccl* openNccl(Absence& absence) {
  static const Opened opened = open();
  absence = opened.absence;
  return opened.library ? &*opened.library : nullptr;
}

}  // namespace mora::ranks
