// Ranks that gloo connects.
//
// A collective of gloo waits for all ranks, for as long as they compute; the pulse makes it end when one is lost.
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/broadcast.h>
#include <gloo/config.h>
#include <gloo/math.h>
#include <gloo/transport/tcp/device.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "gloo/mesh.h"
#include "gloo/pulse.h"
#include "ranks/gloo_library.h"

namespace mora::ranks {
namespace {

const std::string& version() {
  static const std::string text = std::to_string(GLOO_VERSION_MAJOR) + "." + std::to_string(GLOO_VERSION_MINOR) + "." +
                                  std::to_string(GLOO_VERSION_PATCH);
  return text;
}

class Gloo : public Engine {
 public:
  Gloo(std::shared_ptr<Mesh> mesh, std::shared_ptr<Pulse> pulse, Terms terms)
      : mesh_(std::move(mesh)), pulse_(std::move(pulse)), terms_(std::move(terms)) {}

  int rank() const override { return mesh_->rank; }
  int size() const override { return mesh_->size; }
  std::string library() const override { return "gloo " + version(); }

  void tend() override {
    if (const auto failure = pulse_->failure()) throw failure->failure();
  }

  void fail(int rank, const std::string& why) override { pulse_->fail(rank, why); }

  /// Nothing here can end other processes: each ends by itself once it has heard.
  void abort() noexcept override { std::_Exit(1); }

  void finish() override { pulse_->sayGoodbye(); }

 protected:
  void allReduce(float* values, size_t count) override {
    named([&] {
      gloo::AllreduceOptions options(mesh_);
      options.setOutput(values, count);
      options.setReduceFunction(static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
      gloo::allreduce(options);
    });
  }

  void send(std::byte* bytes, size_t count, int from) override {
    named([&] {
      gloo::BroadcastOptions options(mesh_);
      options.setOutput(reinterpret_cast<char*>(bytes), count);
      options.setRoot(from);
      gloo::broadcast(options);
    });
  }

  void allGather(const std::byte* given, size_t count, std::byte* all, bool) override {
    named([&] {
      gloo::AllgatherOptions options(mesh_);
      options.setInput(reinterpret_cast<char*>(const_cast<std::byte*>(given)), count);
      options.setOutput(reinterpret_cast<char*>(all), count * static_cast<size_t>(size()));
      gloo::allgather(options);
    });
  }

 private:
  /// gloo says that a connection is gone, but not which rank has failed and why.
  template <typename Call>
  void named(Call call) {
    std::string told;
    try {
      return call();
    } catch (const std::exception& error) {
      told = error.what();
    }
    if (!pulse_->failure() && terms_.givesUp()) throw GivenUp{};
    if (const auto failure = pulse_->awaitFailure()) throw failure->failure();
    throw Error("ranks-failed", "gloo failed on rank " + std::to_string(rank()) + ": " + told);
  }

  const std::shared_ptr<Mesh> mesh_;
  const std::shared_ptr<Pulse> pulse_;
  const Terms terms_;
};

class Listening : public GlooRank {
 public:
  Listening(const char* address, int rank, int size, std::chrono::milliseconds patience)
      : device_(gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr(address))),
        collectives_(std::make_shared<Mesh>(device_, rank, size, patience)),
        beats_(std::make_shared<Mesh>(device_, rank, size, patience)) {}

  std::vector<std::byte> addresses() const override {
    std::vector<std::byte> all;
    // A rank has no address for itself, but one that is as long.
    for (int other = 0; other < collectives_->size; ++other)
      for (const auto& mesh : {collectives_, beats_}) {
        const bool isOwn = other == mesh->rank;
        std::vector<char> one = mesh->addressFor(isOwn ? (other + 1) % mesh->size : other);
        if (isOwn) std::fill(one.begin(), one.end(), '\0');
        const auto* const bytes = reinterpret_cast<const std::byte*>(one.data());
        all.insert(all.end(), bytes, bytes + one.size());
      }
    return all;
  }

  std::unique_ptr<Engine> connect(const std::vector<std::byte>& addresses, Terms terms) override {
    const auto size = static_cast<size_t>(collectives_->size);
    const size_t length = addresses.size() / size / 2;
    if (addresses.size() != this->addresses().size())
      throw Error("other-gloo", "Ranks have different versions of gloo: their addresses are not as long.");
    const auto of = [&](size_t which) {
      std::vector<std::vector<char>> list(size);
      for (size_t other = 0; other < size; ++other) {
        const auto* const start = reinterpret_cast<const char*>(addresses.data()) + (2 * other + which) * length;
        list[other].assign(start, start + length);
      }
      return list;
    };
    try {
      collectives_->connect(of(0));
      beats_->connect(of(1));
    } catch (const std::exception& error) {
      throw Error("ranks-failed", "gloo could not connect rank " + std::to_string(collectives_->rank) +
                                      " with the others: " + error.what());
    }
    // Connections that are closed before the other end has read all lose it: the end of the process closes them.
    static auto& kept = *new std::vector<std::shared_ptr<Mesh>>();
    kept.insert(kept.end(), {collectives_, beats_});
    const auto pulse = std::make_shared<Pulse>(beats_, collectives_, terms);
    pulse->start();
    return std::make_unique<Gloo>(collectives_, pulse, std::move(terms));
  }

 private:
  const std::shared_ptr<gloo::transport::Device> device_;
  const std::shared_ptr<Mesh> collectives_, beats_;
};

}  // namespace
}  // namespace mora::ranks

extern "C" __attribute__((visibility("default"))) const char* moraGlooVersion() {
  return mora::ranks::version().c_str();
}

extern "C" __attribute__((visibility("default"))) mora::ranks::GlooRank* moraGlooRank(
    const char* address, int rank, int size, std::chrono::milliseconds patience) {
  try {
    return new mora::ranks::Listening(address, rank, size, patience);
  } catch (const std::exception& error) {
    throw mora::Error("no-gloo", std::string("gloo cannot listen on ") + address + ": " + error.what());
  }
}
