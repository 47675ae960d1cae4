// SHA-256 as in FIPS 180-4, section 6.2; names (sigma, ch, maj, the schedule w) follow the
// standard.
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace coppice {
namespace {

constexpr size_t kBlock = 64;

// Section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64
// primes.
constexpr std::array<uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

using Words = std::array<uint32_t, 8>;

#if defined(__x86_64__)
bool HasShaInstructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1) != 0;
}

// One block by the processor's own instructions, which keep the state as the words a b e f and
// c d g h, first word highest: five times as fast, and models are gigabytes.
__attribute__((target("sha,sse4.1"))) void CompressByInstructions(const char* block, Words* state) {
  const auto load = [](const void* from) {
    return _mm_loadu_si128(static_cast<const __m128i*>(from));
  };
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  const __m128i cdab = _mm_shuffle_epi32(load(state->data()), 0xb1);
  const __m128i efgh = _mm_shuffle_epi32(load(state->data() + 4), 0x1b);
  const __m128i abef_before = _mm_alignr_epi8(cdab, efgh, 8);
  const __m128i cdgh_before = _mm_blend_epi16(efgh, cdab, 0xf0);
  __m128i abef = abef_before, cdgh = cdgh_before;
  __m128i w[4];  // the schedule, 16 words of it
  for (int i = 0; i < 4; ++i) w[i] = _mm_shuffle_epi8(load(block + 16 * i), big_endian);
  for (int t = 0; t < 16; ++t) {  // four rounds each
    const __m128i sum = _mm_add_epi32(w[t % 4], load(&kRound[static_cast<size_t>(4 * t)]));
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
    if (t >= 12) continue;
    const __m128i last = w[(t + 3) % 4];
    const __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w[t % 4], w[(t + 1) % 4]),
                                       _mm_alignr_epi8(last, w[(t + 2) % 4], 4));
    w[t % 4] = _mm_sha256msg2_epu32(next, last);
  }
  const __m128i feba = _mm_shuffle_epi32(_mm_add_epi32(abef, abef_before), 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(_mm_add_epi32(cdgh, cdgh_before), 0xb1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state->data()), _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state->data() + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#else
bool HasShaInstructions() { return false; }
void CompressByInstructions(const char*, Words*) {}
#endif

class Sha256 {
 public:
  void Add(std::string_view bytes) {
    total_ += bytes.size();
    if (!pending_.empty()) {
      const size_t taken = std::min(kBlock - pending_.size(), bytes.size());
      pending_.append(bytes.substr(0, taken));
      bytes.remove_prefix(taken);
      if (pending_.size() < kBlock) return;
      Compress(pending_.data());
      pending_.clear();
    }
    for (; bytes.size() >= kBlock; bytes.remove_prefix(kBlock)) Compress(bytes.data());
    pending_.append(bytes);
  }

  // Section 5.1.1: a one bit, zeros, and the length in bits as a big-endian u64.
  std::string Hex() {
    const uint64_t bits = total_ * 8;
    std::string tail(1, '\x80');
    tail.append((kBlock + 55 - total_ % kBlock) % kBlock, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) tail += static_cast<char>(bits >> shift & 0xff);
    Add(tail);
    std::string hex;
    for (const uint32_t word : state_) {
      for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
    }
    return hex;
  }

 private:
  static uint32_t BigEndian(const char* bytes) {
    uint32_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
  }

  void Compress(const char* block) {
    static const bool instructions = HasShaInstructions();
    if (instructions) return CompressByInstructions(block, &state_);
    std::array<uint32_t, 64> w;
    for (size_t t = 0; t < 16; ++t) w[t] = BigEndian(block + 4 * t);
    for (size_t t = 16; t < 64; ++t) {
      const uint32_t a = w[t - 15];
      const uint32_t b = w[t - 2];
      w[t] = w[t - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[t - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (size_t t = 0; t < 64; ++t) {
      const uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t ch = (e & f) ^ (~e & g);
      const uint32_t t1 = h + sum1 + ch + kRound[t] + w[t];
      const uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t maj = (a & b) ^ (a & c) ^ (b & c);
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + sum0 + maj;
    }
    const Words worked = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < state_.size(); ++i) state_[i] += worked[i];
  }

  // Section 5.3.3: the same bits of the square roots of the first 8 primes.
  Words state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t total_ = 0;
  std::string pending_;  // less than a block
};

}  // namespace

std::string Sha256Hex(std::string_view bytes) {
  Sha256 sha;
  sha.Add(bytes);
  return sha.Hex();
}

std::string Sha256HexOfFile(const std::filesystem::path& path) {
  const auto fail = [&path] {
    ThrowBadInput({.what = "cannot read: " + std::generic_category().message(errno),
                   .where = Printable(path.string(), 500)});
  };
  std::ifstream in(path, std::ios::binary);
  if (!in) fail();
  Sha256 sha;
  std::vector<char> buffer(size_t{1} << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    if (in.bad()) fail();
    sha.Add({buffer.data(), static_cast<size_t>(in.gcount())});
  }
  return sha.Hex();
}

}  // namespace coppice
