// Scratch memory: scopes release their memory, memory in use never moves, and an operation's needs are met without
// allocation the next time.
#include "cpu/scratch.h"

#include <cstdint>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>

#include "check.h"

using mora::cpu::Scratch;

namespace {

constexpr size_t kMega = size_t{1} << 20;

void scopesShareMemory() {
  void *first = nullptr, *inner = nullptr;
  {
    Scratch outer;
    first = outer.bytes(1000);
    {
      Scratch scope;
      inner = scope.bytes(10);
    }
    Scratch scope;
    CHECK(scope.bytes(500) == inner);
    CHECK(static_cast<std::byte*>(inner) - static_cast<std::byte*>(first) == 1024);
  }
  Scratch next;
  CHECK(next.bytes(3) == first);
  for (int i = 0; i < 5; ++i) CHECK(reinterpret_cast<uintptr_t>(next.bytes(1)) % Scratch::kAlignment == 0);
}

/// Takes `bytes` in each of `depth` nested scopes; checks that outer memory is unchanged when inner scopes have ended.
void nest(int depth, size_t bytes, std::set<void*>& places) {
  if (depth == 0) return;
  Scratch scope;
  auto* const memory = scope.take<unsigned char>(static_cast<int64_t>(bytes));
  places.insert(memory);
  std::memset(memory, depth, bytes);
  nest(depth - 1, bytes, places);
  bool kept = true;
  for (size_t i = 0; i < bytes; i += 997) kept = kept && memory[i] == depth;
  CHECK(kept && memory[bytes - 1] == depth);
}

void whatWasNeededOnceIsThere() {
  std::set<void*> grown, again, later;
  nest(9, kMega, grown);  // in several chunks, since the total was unknown
  CHECK(grown.size() == 9);
  nest(9, kMega, again);  // in one chunk
  CHECK(again.size() == 9);
  auto* const base = static_cast<std::byte*>(*again.begin());
  CHECK(static_cast<std::byte*>(*again.rbegin()) - base == static_cast<ptrdiff_t>(8 * kMega));
  for (int i = 0; i < 3; ++i) nest(9, kMega, later);
  CHECK(later == again);
}

void onlyTheInnermostGives() {
  Scratch outer;
  Scratch inner;
  bool refused = false;
  try {
    outer.bytes(1);
  } catch (const std::logic_error&) {
    refused = true;
  }
  CHECK(refused);
}

void threadsHaveTheirOwn() {
  Scratch here;
  void *mine = here.bytes(64), *other = nullptr;
  std::thread([&] {
    Scratch there;
    other = there.bytes(64);
    CHECK(other != mine);
  }).join();
}

}  // namespace

int main() {
  scopesShareMemory();
  whatWasNeededOnceIsThere();
  onlyTheInnermostGives();
  threadsHaveTheirOwn();
  return mora::test::finish();
}
