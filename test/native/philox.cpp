// Philox4x32-10 against the known answers of its authors, and dropout's use of it.
#include "core/math/philox.h"

#include <set>
#include <tuple>

#include "check.h"

using mora::philox4x32;
using mora::PhiloxWords;

namespace {

bool gives(PhiloxWords counter, uint32_t key0, uint32_t key1, PhiloxWords expected) {
  const PhiloxWords words = philox4x32(counter, key0, key1);
  bool equal = true;
  for (int i = 0; i < 4; ++i) equal = equal && words.word[i] == expected.word[i];
  return equal;
}

// Salmon et al., Random123, file tests/kat_vectors.
void knownAnswers() {
  CHECK(gives({{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}));
  CHECK(gives({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, 0xffffffff, 0xffffffff,
              {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}));
  CHECK(gives({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
              {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}));
}

void countersAreDistinct() {
  std::set<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>> seen;
  const int64_t keys[] = {0, 1, -1, int64_t{1} << 32, (int64_t{1} << 32) + 1, INT64_MIN, INT64_MAX};
  for (const int64_t key : keys)
    for (const uint32_t group : {0u, 1u, 1u << 31}) {
      const PhiloxWords counter = mora::dropoutCounter(key, group);
      seen.insert({counter.word[0], counter.word[1], counter.word[2], counter.word[3]});
    }
  CHECK(seen.size() == 21);
}

void uniformNumbers() {
  CHECK(mora::philoxUniform(0) == 0.0f);
  CHECK(mora::philoxUniform(0xffffffff) == 1.0f - 0x1p-24f);
  CHECK(mora::philoxUniform(0xff) == 0.0f);
  CHECK(mora::philoxUniform(0x80000000) == 0.5f);
  // The mean of 2^16 numbers is within six standard deviations (of 1 / √12 each) of a half.
  double sum = 0;
  for (uint32_t i = 0; i < (1 << 14); ++i)
    for (const uint32_t word : philox4x32({{i, 0, 0, 0}}, 17, 4).word) sum += mora::philoxUniform(word);
  const double error = sum / (1 << 16) - 0.5;
  CHECK(error * error < 36.0 / 12 / (1 << 16));
}

}  // namespace

int main() {
  knownAnswers();
  countersAreDistinct();
  uniformNumbers();
  return mora::test::finish();
}
