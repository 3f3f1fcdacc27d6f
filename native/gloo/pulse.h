// How ranks know that the others live: each sends a beat to the next one and listens to the one before, on threads of
// their own, so that one that computes for minutes still beats, and one that is stopped or cut off does not. Word of a
// failure goes around the same way.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "gloo/mesh.h"
#include "ranks/engine.h"

namespace mora::ranks {

struct Failure {
  int rank;
  std::string why;
};

class Pulse : public std::enable_shared_from_this<Pulse> {
 public:
  /// `interrupted` is the mesh whose collectives end when a rank fails or this one gives up.
  Pulse(std::shared_ptr<Mesh> mesh, std::shared_ptr<Mesh> interrupted, Terms terms);
  /// Starts the threads, which end with the process or with goodbye.
  void start();

  std::optional<Failure> failure();
  /// Waits for word of a failure for as long as a rank may be silent.
  std::optional<Failure> awaitFailure();
  /// Tells the other ranks.
  void fail(int rank, const std::string& why);
  /// Returns when the one before has said goodbye too. Throws when that does not come.
  void sayGoodbye();

 private:
  enum class Word : int32_t { beat, failure, goodbye };
  /// What goes around.
  struct Message {
    Word word = Word::beat;
    int32_t rank = 0;  // that has failed
    char why[504] = "";
  };

  void beat();
  void watch();
  void listen();
  void send(const Message& message);
  void note(int rank, const std::string& why);

  std::chrono::steady_clock::duration interval() const;
  int before() const { return (mesh_->rank + mesh_->size - 1) % mesh_->size; }
  int after() const { return (mesh_->rank + 1) % mesh_->size; }

  const std::shared_ptr<Mesh> mesh_, interrupted_;
  const Terms terms_;
  std::atomic<std::chrono::steady_clock::duration> silence_{};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Failure> failure_;
  bool leaves_ = false, hasLeft_ = false, beforeHasLeft_ = false;
};

}  // namespace mora::ranks
