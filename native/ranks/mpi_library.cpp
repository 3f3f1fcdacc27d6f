#include "ranks/mpi_library.h"

#include <vector>

#include "core/error.h"
#include "core/system/libraries.h"
#include "ranks/surroundings.h"

namespace mora::ranks {
namespace {

/// The longest that a library of the three may write (MPI_MAX_LIBRARY_VERSION_STRING): MPICH's.
constexpr size_t kLongestVersion = 8192;

std::string mpiVersionOf(void* handle) {
  const auto ask = reinterpret_cast<int (*)(char*, int*)>(addressIn(handle, "MPI_Get_library_version"));
  if (!ask) return "";
  std::vector<char> text(kLongestVersion + 1, '\0');
  int length = 0;
  ask(text.data(), &length);  // allowed before MPI_Init
  std::string version(text.data());
  version.erase(std::min(version.find_first_of("\n\r"), version.size()));
  for (char& letter : version)
    if (letter == '\t') letter = ' ';
  return version;
}

}  // namespace

MpiLibrary openMpi(const std::vector<std::string>& names) {
  leaveProcessAlone();
  std::string causes;
  for (const std::string& name : names) {
    // Global: plug-ins of the library find its symbols.
    std::string why;
    void* const handle = openLibrary(name, why, Symbols::global);
    if (!handle) {
      causes += (causes.empty() ? "" : "; ") + why;
      continue;
    }
    MpiLibrary library{handle, MpiAbi::mpich, mpiVersionOf(handle)};
    if (library.version.empty())
      throw Error("not-mpi", name + " is no MPI library: it has no MPI_Get_library_version.");
    if (addressIn(handle, "ompi_mpi_comm_world"))
      library.abi = MpiAbi::openMpi;
    else if (addressIn(handle, "MPI_Abi_get_version") && name.find("mpi_abi") != std::string::npos)
      library.abi = MpiAbi::standard;
    return library;
  }
  throw Error("no-mpi", "No MPI library could be opened: " + causes + ".");
}

}  // namespace mora::ranks
