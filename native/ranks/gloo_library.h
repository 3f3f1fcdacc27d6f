// gloo, by a library of this project's beside the addon (native/gloo), opened at run time.
#pragma once
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ranks/engine.h"

namespace mora::ranks {

/// A rank that listens, and is not connected with the others yet.
class GlooRank {
 public:
  virtual ~GlooRank() = default;
  /// [size, n]: for each rank, what it has to know to connect with this one.
  virtual std::vector<std::byte> addresses() const = 0;
  /// Connects with all: [size, n], what each rank gave for this one.
  virtual std::unique_ptr<Engine> connect(const std::vector<std::byte>& addresses, Terms terms) = 0;
};

/// Listens on an address of this machine. `patience`: how long connecting may take.
using GlooEntry = GlooRank*(const char* address, int rank, int size, std::chrono::milliseconds patience);
using GlooVersion = const char*();

/// `0.5.0`. Throws as openGloo does.
std::string glooVersion();

std::unique_ptr<GlooRank> openGloo(const std::string& address, int rank, int size, std::chrono::milliseconds patience);

}  // namespace mora::ranks
