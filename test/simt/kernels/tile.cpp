// The tensor cores' product mma.m16n8k16: gathers the fragments of the 32 lanes into tiles, multiplies them in f32, and
// distributes the result. Layout of the fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16".
#include <cstring>

#include "simt/device_code.h"

namespace simt {

namespace {

constexpr int kRows = 16, kColumns = 8, kDepth = 16;

float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
float widen(__half value) { return __half2float(value); }

struct Operand {
  float* d;
  const uint32_t *a, *b;
};

template <typename Storage>
void unpack(uint32_t word, float& low, float& high) {
  Storage pair[2];
  std::memcpy(pair, &word, sizeof word);
  low = widen(pair[0]);
  high = widen(pair[1]);
}

template <typename Storage>
void multiply(void* const operands[32], uint32_t lanes) {
  if (lanes != 0xffffffffu) fail(std::source_location::current(), "multiplyTile takes all lanes of a warp");
  float a[kRows][kDepth], b[kDepth][kColumns], d[kRows][kColumns];
  for (int lane = 0; lane < 32; ++lane) {
    const Operand& operand = *static_cast<const Operand*>(operands[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      float* target = &a[group + i % 2 * 8][pair + i / 2 * 8];
      unpack<Storage>(operand.a[i], target[0], target[1]);
    }
    for (int i = 0; i < 2; ++i) unpack<Storage>(operand.b[i], b[pair + i * 8][group], b[pair + i * 8 + 1][group]);
    for (int i = 0; i < 4; ++i) d[group + i / 2 * 8][pair + i % 2] = operand.d[i];
  }
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < kDepth; ++k)
      for (int column = 0; column < kColumns; ++column) d[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < 32; ++lane) {
    const Operand& operand = *static_cast<const Operand*>(operands[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) operand.d[i] = d[group + i / 2 * 8][pair + i % 2];
  }
}

}  // namespace

template <typename Storage>
void multiplyTile(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], std::source_location where) {
  Operand operand{d, a, b};
  meet(0xffffffffu, &operand, &multiply<Storage>, "multiplyTile", where);
}

template void multiplyTile<__nv_bfloat16>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                                          std::source_location);
template void multiplyTile<__half>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2], std::source_location);

}  // namespace simt
