// Ranks of gloo, each connected with each.
#pragma once
#include <gloo/context.h>
#include <gloo/transport/device.h>

#include <chrono>
#include <memory>
#include <vector>

namespace mora::ranks {

/// As gloo::rendezvous::Context, which asks a store for addresses while it connects; these were exchanged before.
class Mesh : public gloo::Context {
 public:
  Mesh(const std::shared_ptr<gloo::transport::Device>& device, int rank, int size, std::chrono::milliseconds patience);

  /// For another rank: where it connects with this one.
  std::vector<char> addressFor(int other) const;
  /// [size]: what each rank gave for this one. Returns once all are connected.
  void connect(const std::vector<std::vector<char>>& addresses);
  /// Makes whatever waits throw, on every thread. Nothing works from here on.
  void interrupt();
};

}  // namespace mora::ranks
