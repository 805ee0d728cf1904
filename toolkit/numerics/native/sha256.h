/* SHA-256 (FIPS 180-4) of two streams at once, with the SHA instructions of x86.
 *
 * One stream waits for each pair of rounds (4 cycles a sha256rnds2); another one fits into the gaps, so two together take
 * little more than one. Included by kernels.c; there is no plain C: without the instructions the caller has OpenSSL.
 */
#if defined(__x86_64__)

typedef struct {
    uint32_t state[8];
    uint64_t length;
    uint8_t tail[64]; /* of which length % 64 bytes wait for the rest of their block */
} Sha256;

static const uint32_t SHA256_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* The state as the instructions want it: words a, b, e, f in one register, c, d, g, h in the other. */
typedef struct {
    __m128i abef, cdgh;
} Registers;

SHA_TARGET static inline Registers sha256_load(const uint32_t *state)
{
    const __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    const __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    return (Registers){_mm_alignr_epi8(low, high, 8), _mm_blend_epi16(high, low, 0xF0)};
}

SHA_TARGET static inline void sha256_store(uint32_t *state, Registers r)
{
    const __m128i low = _mm_shuffle_epi32(r.abef, 0x1B), high = _mm_shuffle_epi32(r.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

/* The same number of whole blocks into each of `streams` (1 or 2, known when compiled) states. */
SHA_TARGET static inline __attribute__((always_inline)) void sha256_blocks(uint32_t *const *states,
                                                                           const uint8_t *const *data, int64_t blocks,
                                                                           const int streams)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    Registers r[2];
    for (int s = 0; s < streams; s++)
        r[s] = sha256_load(states[s]);
    for (int64_t block = 0; block < blocks; block++) {
        __m128i w[2][4];
        Registers before[2];
        for (int s = 0; s < streams; s++) {
            before[s] = r[s];
            for (int i = 0; i < 4; i++) {
                const __m128i *from = (const __m128i *)(data[s] + 64 * block + 16 * i);
                w[s][i] = _mm_shuffle_epi8(_mm_loadu_si128(from), big_endian);
            }
        }
#pragma GCC unroll 16
        for (int four = 0; four < 16; four++) {
            const __m128i k = _mm_loadu_si128((const __m128i *)(SHA256_K + 4 * four));
#pragma GCC unroll 2
            for (int s = 0; s < streams; s++) {
                __m128i *now = &w[s][four & 3];
                const __m128i last = w[s][(four + 3) & 3], sum = _mm_add_epi32(*now, k);
                r[s].cdgh = _mm_sha256rnds2_epu32(r[s].cdgh, r[s].abef, sum);
                r[s].abef = _mm_sha256rnds2_epu32(r[s].abef, r[s].cdgh, _mm_shuffle_epi32(sum, 0x0E));
                if (four < 12) {
                    const __m128i first = _mm_sha256msg1_epu32(*now, w[s][(four + 1) & 3]);
                    const __m128i seventh = _mm_alignr_epi8(last, w[s][(four + 2) & 3], 4);
                    *now = _mm_sha256msg2_epu32(_mm_add_epi32(first, seventh), last);
                }
            }
        }
        for (int s = 0; s < streams; s++) {
            r[s].abef = _mm_add_epi32(r[s].abef, before[s].abef);
            r[s].cdgh = _mm_add_epi32(r[s].cdgh, before[s].cdgh);
        }
    }
    for (int s = 0; s < streams; s++)
        sha256_store(states[s], r[s]);
}

SHA_TARGET static void sha256_one(uint32_t *state, const uint8_t *data, int64_t blocks)
{
    sha256_blocks(&state, &data, blocks, 1);
}

SHA_TARGET static void sha256_both(uint32_t *const *states, const uint8_t *const *data, int64_t blocks)
{
    sha256_blocks(states, data, blocks, 2);
}

/* Bytes that complete a block begun before; how many of `data` went there. */
static int64_t sha256_complete(Sha256 *stream, const uint8_t *data, int64_t count)
{
    const int64_t there = (int64_t)(stream->length % 64), wanted = there ? 64 - there : 0;
    const int64_t taken = wanted < count ? wanted : count;
    if (taken)
        memcpy(stream->tail + there, data, (size_t)taken);
    stream->length += (uint64_t)taken;
    if (taken && taken == wanted)
        sha256_one(stream->state, stream->tail, 1);
    return taken;
}

/* What is left of `data` after whole blocks of it went into the state. */
static void sha256_rest(Sha256 *stream, const uint8_t *data, int64_t count)
{
    sha256_one(stream->state, data, count / 64);
    if (count % 64)
        memcpy(stream->tail, data + count / 64 * 64, (size_t)(count % 64));
    stream->length += (uint64_t)count;
}

API void trtkit_sha256_begin(Sha256 *stream)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(stream->state, first, sizeof first);
    stream->length = 0;
}

/* Go on with both streams; either may get nothing. */
API void trtkit_sha256_update(Sha256 *first, const uint8_t *a, int64_t n, Sha256 *second, const uint8_t *b, int64_t m)
{
    const int64_t i = sha256_complete(first, a, n), j = sha256_complete(second, b, m);
    const int64_t blocks = (n - i < m - j ? n - i : m - j) / 64;
    if (blocks) {
        uint32_t *states[2] = {first->state, second->state};
        const uint8_t *data[2] = {a + i, b + j};
        sha256_both(states, data, blocks);
        first->length += (uint64_t)(64 * blocks);
        second->length += (uint64_t)(64 * blocks);
    }
    sha256_rest(first, a + i + 64 * blocks, n - i - 64 * blocks);
    sha256_rest(second, b + j + 64 * blocks, m - j - 64 * blocks);
}

API void trtkit_sha256_end(Sha256 *stream, uint8_t *digest)
{
    uint8_t last[128] = {0};
    const int64_t there = (int64_t)(stream->length % 64), blocks = there < 56 ? 1 : 2;
    memcpy(last, stream->tail, (size_t)there);
    last[there] = 0x80;
    for (int i = 0; i < 8; i++)
        last[64 * blocks - 1 - i] = (uint8_t)(8 * stream->length >> 8 * i);
    sha256_one(stream->state, last, blocks);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(stream->state[i / 4] >> (24 - 8 * (i % 4)));
}

API int trtkit_sha256_supported(void)
{
    unsigned a, b, c, d, extended;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1) &&
           __get_cpuid_count(7, 0, &a, &extended, &c, &d) && (extended & 1u << 29) != 0;
}

#else

API int trtkit_sha256_supported(void)
{
    return 0;
}

#endif
