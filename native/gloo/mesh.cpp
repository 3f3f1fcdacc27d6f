#include "gloo/mesh.h"

#include <gloo/common/error.h>
#include <gloo/transport/address.h>
#include <gloo/transport/context.h>
#include <gloo/transport/unbound_buffer.h>

namespace mora::ranks {
namespace {

using namespace std::chrono_literals;

/// Ranks compute for as long as they like before they come to a collective; the pulse tells of those that are lost.
constexpr auto kForever = 24h * 365;
constexpr uint64_t kSlotOfNobody = uint64_t{1} << 40;

}  // namespace

Mesh::Mesh(const std::shared_ptr<gloo::transport::Device>& device, int rank, int size,
           std::chrono::milliseconds patience)
    : gloo::Context(rank, size) {
  device_ = device;
  transportContext_ = device->createContext(rank, size);
  transportContext_->setTimeout(patience);
  for (int other = 0; other < size; ++other)
    if (other != rank) transportContext_->createPair(other);
}

std::vector<char> Mesh::addressFor(int other) const { return transportContext_->getPair(other)->address().bytes(); }

void Mesh::connect(const std::vector<std::vector<char>>& addresses) {
  for (int other = 0; other < size; ++other)
    if (other != rank) transportContext_->getPair(other)->connect(addresses[static_cast<size_t>(other)]);
  transportContext_->setTimeout(kForever);
  setTimeout(kForever);
}

void Mesh::interrupt() {
  // gloo tells every connection of a context when one that waits has had enough.
  char nothing = 0;
  try {
    const auto buffer = createUnboundBuffer(&nothing, 1);
    buffer->recv((rank + 1) % size, kSlotOfNobody);
    buffer->waitRecv(1ms);
  } catch (const gloo::Exception&) {
  }
}

}  // namespace mora::ranks
