// The MPI library of this machine, opened at run time: its functions by name, and the constants of its binary
// interface.
#pragma once
#include <string>
#include <vector>

#include "ranks/engine.h"

namespace mora::ranks {

/// What MPI calls a communicator, a datatype and so on is a pointer to a global object in Open MPI, a number in MPICH
/// and its kin, and a pointer with a fixed value in the standard's own binary interface (MPI 5).
enum class MpiAbi { openMpi, mpich, standard };

struct MpiLibrary {
  void* handle = nullptr;
  MpiAbi abi = MpiAbi::openMpi;
  /// As the library says it, its first line.
  std::string version;
};

/// Opens the first of the libraries that is there. Throws a sentence that says why none is.
MpiLibrary openMpi(const std::vector<std::string>& names);

/// Starts MPI in this process, on this thread.
std::unique_ptr<Engine> startMpi(const MpiLibrary& library, Terms terms);

}  // namespace mora::ranks
