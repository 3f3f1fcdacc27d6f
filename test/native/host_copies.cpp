// Copies from the host to the CPU's memory: the team shares large ones. Also under ThreadSanitizer.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

#include "check.h"
#include "core/device.h"

using mora::Device;

namespace {

constexpr size_t kBytes = (7 << 20) + 13;  // pieces of several threads, and a remainder

std::byte valueAt(size_t i) { return static_cast<std::byte>(i % 251); }

/// Waits for everything enqueued; returns the error, or an empty string.
std::string failureOf(Device& device) {
  std::promise<std::string> done;
  device.callback(
      [&](const mora::StreamError& error) { done.set_value(error.status == mora::Status::ok ? "" : error.message); });
  return done.get_future().get();
}

void partsOfALargeCopyAreReadAtTheSameTime() {
  Device& device = Device::open("cpu", 0, 2);
  auto* const target = static_cast<std::byte*>(device.allocate(kBytes));
  std::atomic<int> reading = 0;
  std::atomic<bool> together = false;
  device.copyFromHost(target, kBytes, [&](std::byte* to, size_t offset, size_t count) {
    for (size_t i = 0; i < count; ++i) to[i] = valueAt(offset + i);
    if (++reading > 1) together = true;
    // The other member comes, unless there is none.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!together && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    --reading;
  });
  CHECK(failureOf(device).empty());
  CHECK(together);
  bool isWhole = true;
  for (size_t i = 0; i < kBytes; ++i) isWhole = isWhole && target[i] == valueAt(i);
  CHECK(isWhole);
  device.release(target);
}

void aSmallCopyIsReadInOnePart() {
  Device& device = Device::open("cpu", 0, 2);
  void* const target = device.allocate(1 << 20);
  std::atomic<int> parts = 0;
  device.copyFromHost(target, 1 << 20, [&](std::byte*, size_t offset, size_t count) {
    ++parts;
    CHECK(offset == 0 && count == 1 << 20);
  });
  device.copyFromHost(target, 0, [&](std::byte*, size_t, size_t) { ++parts; });
  CHECK(failureOf(device).empty());
  CHECK(parts == 1);
  device.release(target);
}

void whereAllPartsFailOneOfThemSaysWhy() {
  Device& device = Device::open("cpu", 0, 2);
  void* const target = device.allocate(kBytes);
  for (int i = 0; i < 20; ++i) {
    device.copyFromHost(target, kBytes, [](std::byte*, size_t offset, size_t) {
      throw std::runtime_error("The file ends before byte " + std::to_string(offset) + ".");
    });
    const std::string why = failureOf(device);
    CHECK(why.starts_with("The file ends before byte ") && why.size() < 35 && !why.ends_with('.'));
  }
  device.release(target);
}

}  // namespace

int main() {
  partsOfALargeCopyAreReadAtTheSameTime();
  aSmallCopyIsReadInOnePart();
  whereAllPartsFailOneOfThemSaysWhy();
  return mora::test::finish();
}
