#include "quantise/quantise.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "quantise/block_writers.h"

namespace mora::quantise {
namespace {

BlockWriter writerOf(DType type) {
  switch (type) {
    case DType::q4_0:
      return writeQ4_0;
    case DType::q4_1:
      return writeQ4_1;
    case DType::q5_0:
      return writeQ5_0;
    case DType::q5_1:
      return writeQ5_1;
    case DType::q8_0:
      return writeQ8_0;
    case DType::q4_k:
      return writeQ4K;
    case DType::q5_k:
      return writeQ5K;
    case DType::q6_k:
      return writeQ6K;
    case DType::iq4_nl:
      return writeIq4Nl;
    case DType::iq4_xs:
      return writeIq4Xs;
    case DType::mxfp4:
      return writeMxfp4;
    default:
      return nullptr;
  }
}

/// Calls body(from, to) over [0, count), in parts of at least `least`, on at most `threads` threads.
template <typename Body>
void inParts(int64_t count, int64_t least, int threads, const Body& body) {
  const int64_t parts = std::clamp<int64_t>(count / std::max<int64_t>(least, 1), 1, std::max(threads, 1));
  std::vector<std::thread> others;
  for (int64_t part = 1; part < parts; ++part)
    others.emplace_back([&, part] { body(count * part / parts, count * (part + 1) / parts); });
  body(0, count / parts);
  for (std::thread& other : others) other.join();
}

/// Fewer values do not justify a thread.
constexpr int64_t kLeastValues = 1 << 16;

/// The NF4 code of the nearest value; the lower one of two.
int nf4CodeOf(float value) {
  int code = 0;
  for (int step = 8; step > 0; step /= 2)
    if (2.0 * value > static_cast<double>(kNf4Values[code + step - 1]) + kNf4Values[code + step]) code += step;
  return code;
}

}  // namespace

bool isWritten(DType type) { return writerOf(type) != nullptr; }

void writeBlocks(DType type, const float* values, int64_t rows, int64_t columns, const float* importance, int threads,
                 uint8_t* blocks) {
  const BlockWriter write = writerOf(type);
  const auto [name, count, size] = traitsOf(type);
  const int64_t perRow = columns / count;
  inParts(rows, kLeastValues / columns, threads, [&, count = count, size = size](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; ++row) {
      const float* const own = values + row * columns;
      const float meanSquare = importance ? sumOfSquares(own, columns) / static_cast<float>(columns) : 0;
      for (int64_t block = 0; block < perRow; ++block) {
        const Importance weights = {importance ? importance + block * count : nullptr, meanSquare};
        write(own + block * count, weights, blocks + (row * perRow + block) * size);
      }
    }
  });
}

const float kNf4Values[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

void writeNf4(const float* values, int64_t count, int threads, uint8_t* codes, float* scales) {
  const int64_t blocks = (count + kNf4Block - 1) / kNf4Block;
  inParts(blocks, kLeastValues / kNf4Block, threads, [&](int64_t from, int64_t to) {
    for (int64_t block = from; block < to; ++block) {
      const int64_t first = block * kNf4Block, end = std::min(first + kNf4Block, count);
      const float peak = std::fabs(peakOf(values + first, static_cast<int>(end - first)));
      const float inverse = inverseOf(peak);
      scales[block] = peak;
      for (int64_t i = first; i < end; i += 2)
        codes[i / 2] = static_cast<uint8_t>(nf4CodeOf(values[i] * inverse) << 4 | nf4CodeOf(values[i + 1] * inverse));
    }
  });
}

}  // namespace mora::quantise
