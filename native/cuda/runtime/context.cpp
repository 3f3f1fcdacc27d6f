#include "cuda/runtime/context.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "cuda/runtime/check.h"
#include "cuda/runtime/scratch.h"

namespace mora::cuda {

void* Context::scratch(Slot slot, size_t bytes) {
  Memory::Block& block = memory->slots[slot];
  if (bytes <= block.bytes) return block.data;
  // A quarter more than needed: batches differ in length, and growing waits for the stream.
  constexpr size_t kPage = size_t{64} << 10;
  const size_t size = (bytes + bytes / 4 + kPage - 1) / kPage * kPage;
  if (block.data) {
    check(cudaStreamSynchronize(stream), "waiting for the stream");
    memory->pool.releaseWorking(block.data, block.bytes);
    block = {};
  }
  block.data = allocateWorking(size);
  block.bytes = size;
  return block.data;
}

void* Context::allocateWorking(size_t bytes) {
  if (void* const data = memory->pool.allocateWorking(bytes)) return data;
  // Segments without blocks are freed to make room, once nothing uses them.
  check(cudaStreamSynchronize(stream), "waiting for the stream");
  for (void* segment : memory->pool.takeUnused(issued)) cudaFree(segment);
  void* const data = memory->pool.allocateWorking(bytes);
  if (!data) throw std::bad_alloc();
  return data;
}

Context::Kept Context::kept(const KeptKey& key, size_t bytes) {
  constexpr size_t kMost = 64;
  const auto found = memory->kept.find(key);
  if (found != memory->kept.end()) return {found->second.data, false};
  if (memory->kept.size() >= kMost) {
    check(cudaStreamSynchronize(stream), "waiting for the stream");
    memory->releaseKept();
  }
  void* const data = allocateWorking(bytes);
  memory->kept[key] = {data, bytes};
  return {data, true};
}

const void* Context::upload(const void* host, size_t bytes) {
  void* const data = scratch(Slot::upload, std::max<size_t>(bytes, 1));
  copyToDevice(*this, data, host, bytes);
  return data;
}

void Context::Memory::releaseAll() {
  for (const auto& [slot, block] : slots)
    if (block.data) pool.releaseWorking(block.data, block.bytes);
  slots.clear();
  releaseKept();
}

void Context::Memory::releaseKept() {
  for (const auto& [key, block] : kept) pool.releaseWorking(block.data, block.bytes);
  kept.clear();
}

void copyToDevice(Context& context, void* target, const void* host, size_t bytes) {
  copyToDevice(context, target, bytes, [&](std::byte* to, size_t offset, size_t count) {
    std::memcpy(to, static_cast<const std::byte*>(host) + offset, count);
  });
}

void copyToDevice(Context& context, void* target, size_t bytes,
                  const std::function<void(std::byte* to, size_t offset, size_t bytes)>& read) {
  Staging& staging = context.memory->staging;
  for (size_t at = 0; at < bytes; at += Staging::kPiece) {
    const size_t piece = std::min(Staging::kPiece, bytes - at);
    const Staging::Slice slice = staging.take(piece);
    read(slice.get(), at, piece);
    check(cudaMemcpyAsync(static_cast<std::byte*>(target) + at, slice.get(), piece, cudaMemcpyHostToDevice,
                          context.stream),
          "copying to the device");
    context.memory->completions.whenReached(context.stream, [slice](cudaError_t) {});
  }
}

void copyToHost(Context& context, void* host, const void* source, size_t bytes, const std::shared_ptr<void>& keep) {
  Staging& staging = context.memory->staging;
  for (size_t at = 0; at < bytes; at += Staging::kPiece) {
    const size_t piece = std::min(Staging::kPiece, bytes - at);
    const Staging::Slice slice = staging.take(piece);
    check(cudaMemcpyAsync(slice.get(), static_cast<const std::byte*>(source) + at, piece, cudaMemcpyDeviceToHost,
                          context.stream),
          "copying from the device");
    context.memory->completions.whenReached(
        context.stream, [slice, piece, keep, to = static_cast<std::byte*>(host) + at](cudaError_t error) {
          if (error == cudaSuccess) std::memcpy(to, slice.get(), piece);
        });
  }
}

void checkLaunch(const char* operation) {
  const cudaError_t error = cudaGetLastError();
  if (endsContext(error)) throw DeviceLost(error);
  if (error != cudaSuccess)
    throw Error("cuda", std::string(operation) + " could not be launched: " + cudaGetErrorString(error));
}

}  // namespace mora::cuda
