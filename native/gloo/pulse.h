// The beats of ranks that gloo connects, on threads of their own, since its collectives block.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "gloo/mesh.h"
#include "ranks/beat.h"

namespace mora::ranks {

class Pulse : public std::enable_shared_from_this<Pulse> {
 public:
  /// `interrupted` is the mesh whose collectives end when a rank fails or this one gives up.
  Pulse(std::shared_ptr<Mesh> mesh, std::shared_ptr<Mesh> interrupted, Terms terms);
  /// Starts the threads, which end with the process or with goodbye.
  void start();

  std::optional<Beat> failure();
  /// Waits for word of a failure for as long as a rank may be silent.
  std::optional<Beat> awaitFailure();
  /// Tells the other ranks.
  void fail(int rank, const std::string& why);
  /// Returns when the one before has said goodbye too. Throws when that does not come.
  void sayGoodbye();

 private:
  void beat();
  void watch();
  void listen();
  void send(const Beat& message);
  void note(int rank, const std::string& why);

  int before() const { return ranks::before(mesh_->rank, mesh_->size); }
  int after() const { return ranks::after(mesh_->rank, mesh_->size); }

  const std::shared_ptr<Mesh> mesh_, interrupted_;
  const Terms terms_;
  std::atomic<std::chrono::steady_clock::duration> silence_{};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Beat> failure_;
  bool leaves_ = false, hasLeft_ = false, beforeHasLeft_ = false;
};

}  // namespace mora::ranks
