/* The codec kernels behind toolkit.numerics: NVFP4 and MXFP4 to and from BF16, FP32 and each other.
 *
 * No Python.h: loaded with ctypes, so one library serves every Python. The caller has checked shapes, types and
 * contiguity; a function works on the units [begin, end) of its arrays, so threads share a call by its units.
 *
 * Layouts (toolkit/numerics/nvfp4.py and mxfp4.py have the formats):
 *   rows      K is last. packed [B][8], scale [B], values [B][16]: B NVFP4 blocks
 *   columns   K is before the last axis. packed [B][8][N], scale [B][N], values [B][16][N]; a packed byte holds the
 *             values of rows 2p (low nibble) and 2p + 1 (high nibble) of its column
 *   planes    BF16 values of the 16 codes under one scale byte as [2][16] bytes: the 16 low bytes, the 16 high bytes
 *
 * All results but two are looked up in tables that hold what the NumPy code computes, so they equal it bit for bit; the
 * others are one IEEE product (FP32 decode) and sums of float64 that are exact in any order (the choice of exponents).
 *
 * Each kernel exists as plain C here, which also does what is left over at the edges, and as SIMD in lanes.h, which is
 * included once for every instruction set that the compiler can make code for.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if !defined(SOURCE_DIGEST)
#define SOURCE_DIGEST ""
#endif

enum { SCALAR, AVX2, AVX512, NEON };
enum { STEPS = 12, LOWEST = -5, BIAS = 127, GONE = 5, STRIP = 64, STREAMED = 8 << 20 };

typedef uint64_t u64x8 __attribute__((vector_size(64)));
typedef double f64x8 __attribute__((vector_size(64)));
typedef double loose __attribute__((vector_size(64), aligned(8), may_alias));

static float f32_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

static unsigned nibble(const uint8_t *packed, int k)
{
    return packed[k / 2] >> 4 * (k % 2) & 15;
}

/* NVFP4 or MXFP4 to BF16 and FP32 */

static uint16_t plane(const uint8_t *planes, unsigned code)
{
    return (uint16_t)(planes[code] | planes[16 + code] << 8);
}

static void scalar_rows_bf16(const uint8_t *packed, const uint8_t *scale, const uint8_t *planes, int64_t blocks,
                             uint16_t *out)
{
    for (int64_t b = 0; b < blocks; b++)
        for (int k = 0; k < 16; k++)
            out[16 * b + k] = plane(planes + 32 * scale[b], nibble(packed + 8 * b, k));
}

static void scalar_rows_f32(const uint8_t *packed, const uint8_t *scale, const float *values, const float *scales,
                            int64_t blocks, float *out)
{
    for (int64_t b = 0; b < blocks; b++)
        for (int k = 0; k < 16; k++)
            out[16 * b + k] = values[nibble(packed + 8 * b, k)] * scales[scale[b]];
}

/* One row of blocks, from column n on. */
static void edge_columns_bf16(const uint8_t *packed, const uint8_t *scale, const uint8_t *planes, int64_t n,
                              int64_t columns, uint16_t *out)
{
    for (int p = 0; p < 8; p++)
        for (int64_t i = n; i < columns; i++) {
            const uint8_t byte = packed[p * columns + i], *row = planes + 32 * scale[i];
            out[2 * p * columns + i] = plane(row, byte & 15);
            out[(2 * p + 1) * columns + i] = plane(row, byte >> 4);
        }
}

static void edge_columns_f32(const uint8_t *packed, const uint8_t *scale, const float *values, const float *scales,
                             int64_t n, int64_t columns, float *out)
{
    for (int p = 0; p < 8; p++)
        for (int64_t i = n; i < columns; i++) {
            const uint8_t byte = packed[p * columns + i];
            out[2 * p * columns + i] = values[byte & 15] * scales[scale[i]];
            out[(2 * p + 1) * columns + i] = values[byte >> 4] * scales[scale[i]];
        }
}

static void scalar_columns_bf16(const uint8_t *packed, const uint8_t *scale, const uint8_t *planes, int64_t blocks,
                                int64_t columns, uint16_t *out)
{
    for (int64_t b = 0; b < blocks; b++)
        edge_columns_bf16(packed + 8 * b * columns, scale + b * columns, planes, 0, columns, out + 16 * b * columns);
}

static void scalar_columns_f32(const uint8_t *packed, const uint8_t *scale, const float *values, const float *scales,
                               int64_t blocks, int64_t columns, float *out)
{
    for (int64_t b = 0; b < blocks; b++)
        edge_columns_f32(packed + 8 * b * columns, scale + b * columns, values, scales, 0, columns,
                         out + 16 * b * columns);
}

/* BF16 to NVFP4
 *
 * A magnitude has 15 bits, and so has the largest of a block: its scale byte is looked up. With the scale byte the code
 * of a value rises with its magnitude (x / r is rounded, but monotonic), so seven bounds per scale byte replace the
 * division. Both tables are made with the division, once a tensor. */

typedef struct {
    uint8_t scale_of[1 << 15]; /* scale byte by the bits of the block's largest magnitude */
    int16_t bounds[256][8];    /* code = how many of the first 7 lie below the bits of a magnitude; the sign bit of */
} Encoding;                    /* x goes into the code where the magnitude's bits are above the 8th */

/* E4M3 rounded to nearest even, saturating; NaN keeps its sign (toolkit/numerics/fp8.py). */
static uint8_t e4m3_of(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFF, sign = bits >> 24 & 0x80, code;
    if (magnitude > 0x7F800000)
        return (uint8_t)(0x7F | sign);
    if (magnitude < 0x3C800000) /* below 2^-6: multiples of 2^-9, which adding 1.5 * 2^14 rounds to */
        code = bits_of(f32_of(magnitude) + 24576.0f) - bits_of(24576.0f);
    else
        code = ((magnitude + 0x7FFFF + (magnitude >> 20 & 1)) >> 20) - (120 << 3);
    return (uint8_t)((code < 0x7E ? code : 0x7E) | sign);
}

static unsigned code_of(float scaled)
{
    static const float even_below[4] = {0.25f, 1.25f, 2.5f, 5.0f}, even_above[3] = {0.75f, 1.75f, 3.5f};
    float magnitude = scaled < 0 ? -scaled : scaled;
    unsigned code = 7; /* NaN stays here */
    for (int i = 0; i < 4; i++)
        code -= magnitude <= even_below[i];
    for (int i = 0; i < 3; i++)
        code -= magnitude < even_above[i];
    return code;
}

/* Whether a magnitude gets a code above ``bound``, or with bound 7 a sign. */
static int beyond(uint32_t magnitude, float real_scale, unsigned bound)
{
    if (bound == 7)
        return -f32_of(magnitude << 16) / real_scale < 0;
    return code_of(f32_of(magnitude << 16) / real_scale) > bound;
}

API int64_t trtkit_encoding_size(void)
{
    return sizeof(Encoding);
}

/* e4m3 [256]: the values of the bytes. ``global_scale`` is finite and not negative. */
API void trtkit_encoding(float global_scale, const float *e4m3, Encoding *encoding)
{
    const float divisor = 6.0f * global_scale;
    for (uint32_t amax = 0; amax < 1 << 15; amax++) {
        float scale = f32_of(amax << 16) / divisor;
        encoding->scale_of[amax] = e4m3_of(scale == 0 ? 1.0f : scale);
    }
    for (int byte = 0; byte < 0x80; byte++) {
        const float real_scale = e4m3[byte] * global_scale;
        for (unsigned bound = 0; bound < 8; bound++) {
            uint32_t low = 0, high = bound == 7 ? 0x7F81 : 0x8000; /* the first magnitude beyond is in [low, high] */
            while (low < high) {
                uint32_t middle = (low + high) / 2;
                if (beyond(middle, real_scale, bound))
                    high = middle;
                else
                    low = middle + 1;
            }
            encoding->bounds[byte][bound] = (int16_t)(bound == 7 && low == 0x7F81 ? 0x7FFF : (int)low - 1);
        }
    }
    for (int byte = 0x80; byte < 256; byte++) /* only 0xFF occurs, a NaN of the other sign */
        memcpy(encoding->bounds[byte], encoding->bounds[0x7F], sizeof encoding->bounds[0]);
}

/* One block whose values and packed bytes lie ``stride`` apart. */
static uint8_t encode_one(const uint16_t *values, int64_t stride, const Encoding *encoding, uint8_t *packed)
{
    int amax = 0;
    for (int k = 0; k < 16; k++) {
        int magnitude = values[k * stride] & 0x7FFF;
        amax = magnitude > amax ? magnitude : amax;
    }
    const uint8_t scale = encoding->scale_of[amax];
    const int16_t *bounds = encoding->bounds[scale];
    for (int k = 0; k < 16; k++) {
        int value = values[k * stride], magnitude = value & 0x7FFF, code = (value >> 12 & 8) * (magnitude > bounds[7]);
        for (int i = 0; i < 7; i++)
            code += magnitude > bounds[i];
        packed[k / 2 * stride] = (uint8_t)(k % 2 ? packed[k / 2 * stride] | code << 4 : code);
    }
    return scale;
}

static void scalar_encode_rows(const uint16_t *values, const Encoding *encoding, int64_t blocks, uint8_t *packed,
                               uint8_t *scale)
{
    for (int64_t b = 0; b < blocks; b++)
        scale[b] = encode_one(values + 16 * b, 1, encoding, packed + 8 * b);
}

static void scalar_encode_columns(const uint16_t *values, const Encoding *encoding, int64_t blocks, int64_t columns,
                                  uint8_t *packed, uint8_t *scale)
{
    for (int64_t b = 0; b < blocks; b++, values += 16 * columns, packed += 8 * columns, scale += columns)
        for (int64_t n = 0; n < columns; n++)
            scale[n] = encode_one(values + n, columns, encoding, packed + n);
}

/* NVFP4 to MXFP4 (toolkit/numerics/transcode.py has the reasoning and makes the tables) */

typedef struct {
    const int64_t *fit;      /* [byte][8]: least exponent that does not clip that magnitude */
    const int64_t *full;     /* [byte]: the exponent of step 0 */
    const double *gain;      /* [byte][STEPS][8]: squared error one exponent lower minus squared error */
    const double *error;     /* [byte][STEPS][8]: squared error */
    const double *power;     /* [byte][8]: squared value */
    const uint64_t *lossy;   /* [byte][STEPS]: 0xFF in byte m where magnitude m has an error */
    const uint8_t *recoded;  /* [byte][STEPS][16]: the new code of each code */
    const uint64_t *counts;  /* [packed byte]: 1 added to byte m for each of its two magnitudes m */
} Transcoding;

typedef struct {
    int64_t exact, out_of_range;
    double error, norm;
} Report;

typedef struct {
    int64_t row[2]; /* of the tables, one a half */
    uint64_t counts[2];
    int exponent;
} Choice;

static uint64_t count_half(const uint8_t *packed, const uint64_t *counts)
{
    return counts[packed[0]] + counts[packed[1]] + counts[packed[2]] + counts[packed[3]] + counts[packed[4]] +
           counts[packed[5]] + counts[packed[6]] + counts[packed[7]];
}

/* The exponent that clips nothing, and the rows of both halves under it; ``scale`` holds theirs ``stride`` apart. */
static inline Choice unclipped(const uint8_t *packed, const uint8_t *scale, int64_t stride, const Transcoding *tables)
{
    Choice choice = {{0, 0}, {0, 0}, -BIAS};
    for (int h = 0; h < 2; h++) {
        choice.counts[h] = count_half(packed + 8 * h, tables->counts);
        int largest = (63 - __builtin_clzll(choice.counts[h])) / 8;
        int least = (int)tables->fit[8 * scale[h * stride] + largest];
        choice.exponent = least > choice.exponent ? least : choice.exponent;
    }
    for (int h = 0; h < 2; h++) {
        int byte = scale[h * stride], step = choice.exponent - (int)tables->full[byte] - LOWEST;
        choice.row[h] = byte * STEPS + (step < 0 ? 0 : step > STEPS - 1 ? STEPS - 1 : step);
    }
    return choice;
}

static inline void lower(Choice *choice, double gain)
{
    int one = gain < 0 && choice->exponent > -BIAS;
    choice->exponent -= one;
    choice->row[0] -= one;
    choice->row[1] -= one;
}

static double weighted(const double *table, uint64_t counts)
{
    double sum = 0;
    for (int m = 0; m < 8; m++)
        sum += table[m] * (double)(counts >> 8 * m & 255);
    return sum;
}

/* Blocks of one row of the weight: packed [blocks][16] into out [blocks][16] (which may be packed itself). */
static void scalar_transcode(const uint8_t *packed, const uint8_t *scale, int64_t stride, const Transcoding *tables,
                             int64_t blocks, uint8_t *out, uint8_t *scales, Report *report)
{
    for (int64_t b = 0; b < blocks; b++, packed += 16, scale += 2 * stride, out += 16) {
        Choice choice = unclipped(packed, scale, stride, tables);
        lower(&choice, weighted(tables->gain + 8 * choice.row[0], choice.counts[0]) +
                           weighted(tables->gain + 8 * choice.row[1], choice.counts[1]));
        uint64_t lossy = 0;
        for (int h = 0; h < 2; h++) {
            const uint8_t *recoded = tables->recoded + 16 * choice.row[h];
            report->error += weighted(tables->error + 8 * choice.row[h], choice.counts[h]);
            report->norm += weighted(tables->power + 8 * scale[h * stride], choice.counts[h]);
            lossy |= choice.counts[h] & tables->lossy[choice.row[h]];
            for (int p = 8 * h; p < 8 * h + 8; p++)
                out[p] = (uint8_t)(recoded[packed[p] & 15] | recoded[packed[p] >> 4] << 4);
        }
        report->exact += lossy == 0;
        scales[b] = (uint8_t)(choice.exponent + BIAS);
    }
}

/* Bytes */

static void scalar_transpose(const uint8_t *from, int64_t rows, int64_t columns, int64_t from_stride, uint8_t *to,
                             int64_t to_stride)
{
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

/* SIMD: each instruction set gives lanes.h its vectors of V lanes of 128 bits and the operations on them. P(i) is the
 * address of what goes into lane i. */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define FN(name) JOIN(ISA, name)

#if defined(__x86_64__)

#if defined(__clang__)
#define TARGET_AVX2 _Pragma("clang attribute push(__attribute__((target(\"avx2,fma\"))), apply_to=function)")
#define TARGET_AVX512                                                                                                  \
    _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512bw,avx512dq,avx512vl,fma\"))), apply_to=function)")
#define TARGET_END _Pragma("clang attribute pop")
#else
#define TARGET_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma\")")
#define TARGET_AVX512                                                                                                  \
    _Pragma("GCC push_options") _Pragma("GCC target(\"avx512f,avx512bw,avx512dq,avx512vl,fma\")")
#define TARGET_END _Pragma("GCC pop_options")
#endif

#define LOAD128(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE128(p, v) _mm_storeu_si128((__m128i *)(p), v)
#define LOOKUP128(table, index) _mm_shuffle_epi8(table, index)
#define ZIPLO64_128(a, b) _mm_unpacklo_epi64(a, b)
#define ZIPHI64_128(a, b) _mm_unpackhi_epi64(a, b)
#define LOW_NIBBLES_128(v) _mm_and_si128(v, _mm_set1_epi8(15))
#define HIGH_NIBBLES_128(v) _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15))
#define PACK_NIBBLES_128(low, high) _mm_or_si128(low, _mm_slli_epi16(high, 4))
#define FENCE() _mm_sfence()
#define VECTOR128 __m128i

#define ISA avx2
#define V 2
#define LOAD(p) ((u8v)_mm256_loadu_si256((const __m256i *)(p)))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)(v))
#define STREAM(p, v) _mm256_stream_si256((__m256i *)(p), (__m256i)(v))
#define WIDEN(p) ((u16v)_mm256_cvtepu8_epi16(LOAD128(p)))
#define NARROW(a, b) ((u8v)_mm256_permute4x64_epi64(_mm256_packus_epi16((__m256i)(a), (__m256i)(b)), 0xD8))
#define LOOKUP(table, index) ((u8v)_mm256_shuffle_epi8((__m256i)(table), (__m256i)(index)))
#define ZIPLO(bits, a, b) ((u8v)_mm256_unpacklo_epi##bits((__m256i)(a), (__m256i)(b)))
#define ZIPHI(bits, a, b) ((u8v)_mm256_unpackhi_epi##bits((__m256i)(a), (__m256i)(b)))
#define SPREAD64(v) ((u8v)_mm256_permute4x64_epi64((__m256i)(v), 0xD8))
#define SPREAD32(v) ((u8v)_mm256_permutevar8x32_epi32((__m256i)(v), _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)))
#define FIRST_PAIRS(a, b) ((u8v)_mm256_permute2x128_si256((__m256i)(a), (__m256i)(b), 0x20))
#define LAST_PAIRS(a, b) ((u8v)_mm256_permute2x128_si256((__m256i)(a), (__m256i)(b), 0x31))
#define LANES(P) ((u8v)_mm256_inserti128_si256(_mm256_castsi128_si256(LOAD128(P(0))), LOAD128(P(1)), 1))
#define SCATTER(P, v)                                                                                                  \
    STORE128(P(0), _mm256_castsi256_si128((__m256i)(v))), STORE128(P(1), _mm256_extracti128_si256((__m256i)(v), 1))
#define LARGER(a, b) ((u16v)_mm256_max_epi16((__m256i)(a), (__m256i)(b)))
#define ABOVE(a, b) ((u16v)_mm256_cmpgt_epi16((__m256i)(a), (__m256i)(b)))
TARGET_AVX2
#include "lanes.h"
TARGET_END

#define ISA avx512
#define V 4
#define LOAD(p) ((u8v)_mm512_loadu_si512(p))
#define STORE(p, v) _mm512_storeu_si512(p, (__m512i)(v))
#define STREAM(p, v) _mm512_stream_si512((void *)(p), (__m512i)(v))
#define WIDEN(p) ((u16v)_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(p))))
#define LOOKUP(table, index) ((u8v)_mm512_shuffle_epi8((__m512i)(table), (__m512i)(index)))
#define ZIPLO(bits, a, b) ((u8v)_mm512_unpacklo_epi##bits((__m512i)(a), (__m512i)(b)))
#define ZIPHI(bits, a, b) ((u8v)_mm512_unpackhi_epi##bits((__m512i)(a), (__m512i)(b)))
#define SPREAD64(v) ((u8v)_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), (__m512i)(v)))
#define SPREAD32(v)                                                                                                    \
    ((u8v)_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),            \
                                   (__m512i)(v)))
#define FIRST_PAIRS(a, b)                                                                                              \
    ((u8v)_mm512_permutex2var_epi64((__m512i)(a), _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), (__m512i)(b)))
#define LAST_PAIRS(a, b)                                                                                               \
    ((u8v)_mm512_permutex2var_epi64((__m512i)(a), _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), (__m512i)(b)))
#define LANES(P)                                                                                                       \
    ((u8v)_mm512_inserti64x4(                                                                                          \
        _mm512_castsi256_si512(_mm256_inserti128_si256(_mm256_castsi128_si256(LOAD128(P(0))), LOAD128(P(1)), 1)),      \
        _mm256_inserti128_si256(_mm256_castsi128_si256(LOAD128(P(2))), LOAD128(P(3)), 1), 1))
#define SCATTER(P, v)                                                                                                  \
    STORE128(P(0), _mm512_castsi512_si128((__m512i)(v))),                                                              \
        STORE128(P(1), _mm512_extracti32x4_epi32((__m512i)(v), 1)),                                                    \
        STORE128(P(2), _mm512_extracti32x4_epi32((__m512i)(v), 2)),                                                    \
        STORE128(P(3), _mm512_extracti32x4_epi32((__m512i)(v), 3))
#define avx512_encode_rows avx2_encode_rows
#define avx512_encode_columns avx2_encode_columns
TARGET_AVX512
#include "lanes.h"
TARGET_END

#elif defined(__aarch64__)

#define LOAD128(p) vld1q_u8((const uint8_t *)(p))
#define STORE128(p, v) vst1q_u8((uint8_t *)(p), v)
#define LOOKUP128(table, index) vqtbl1q_u8(table, index)
#define ZIPLO64_128(a, b) vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)))
#define ZIPHI64_128(a, b) vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)))
#define LOW_NIBBLES_128(v) vandq_u8(v, vdupq_n_u8(15))
#define HIGH_NIBBLES_128(v) vshrq_n_u8(v, 4)
#define PACK_NIBBLES_128(low, high) vorrq_u8(low, vshlq_n_u8(high, 4))
#define FENCE() ((void)0)
#define VECTOR128 uint8x16_t

#define ISA neon
#define V 1
#define LOAD(p) ((u8v)vld1q_u8((const uint8_t *)(p)))
#define STORE(p, v) vst1q_u8((uint8_t *)(p), (uint8x16_t)(v))
#define STREAM(p, v) STORE(p, v)
#define WIDEN(p) ((u16v)vmovl_u8(vld1_u8(p)))
#define NARROW(a, b) ((u8v)vcombine_u8(vmovn_u16((uint16x8_t)(a)), vmovn_u16((uint16x8_t)(b))))
#define LOOKUP(table, index) ((u8v)vqtbl1q_u8((uint8x16_t)(table), (uint8x16_t)(index)))
#define ZIP_8(half, a, b) vzip##half##q_u8((uint8x16_t)(a), (uint8x16_t)(b))
#define ZIP_16(half, a, b) vzip##half##q_u16((uint16x8_t)(a), (uint16x8_t)(b))
#define ZIPLO(bits, a, b) ((u8v)ZIP_##bits(1, a, b))
#define ZIPHI(bits, a, b) ((u8v)ZIP_##bits(2, a, b))
#define SPREAD64(v) (v)
#define SPREAD32(v) (v)
#define FIRST_PAIRS(a, b) (a)
#define LAST_PAIRS(a, b) (b)
#define LANES(P) LOAD(P(0))
#define SCATTER(P, v) STORE(P(0), v)
#define LARGER(a, b) ((u16v)vmaxq_u16((uint16x8_t)(a), (uint16x8_t)(b)))
#define ABOVE(a, b) ((u16v)vcgtq_s16((int16x8_t)(a), (int16x8_t)(b)))
#include "lanes.h"

#endif

#include "sha256.h"

/* What a caller may ask for */

API const char *trtkit_source(void)
{
    return SOURCE_DIGEST;
}

#if defined(__x86_64__)
/* Asked of the processor itself: __builtin_cpu_supports needs a table that Zig's runtime leaves empty. */
static int has(int isa)
{
    unsigned a, b, c, d, extended, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA) ||
        !__get_cpuid_count(7, 0, &a, &extended, &c, &d))
        return 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0)); /* the registers that the system saves */
    if (isa == AVX2)
        return (saved & 0x06) == 0x06 && extended & bit_AVX2;
    const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return (saved & 0xE6) == 0xE6 && extended & bit_AVX2 && (extended & wanted) == wanted;
}
#endif

API int trtkit_supports(int isa)
{
    if (isa == SCALAR)
        return 1;
#if defined(__x86_64__)
    if (isa == AVX2 || isa == AVX512)
        return has(isa) != 0;
#elif defined(__aarch64__)
    if (isa == NEON)
        return 1;
#endif
    return 0;
}

#if defined(__x86_64__)
#define DISPATCH(name, ...)                                                                                            \
    (isa == AVX512 ? avx512_##name(__VA_ARGS__) : isa == AVX2 ? avx2_##name(__VA_ARGS__) : scalar_##name(__VA_ARGS__))
#elif defined(__aarch64__)
#define DISPATCH(name, ...) (isa == NEON ? neon_##name(__VA_ARGS__) : scalar_##name(__VA_ARGS__))
#else
#define DISPATCH(name, ...) ((void)isa, scalar_##name(__VA_ARGS__))
#endif

API void trtkit_decode_rows_bf16(int isa, const uint8_t *packed, const uint8_t *scale, const uint8_t *planes,
                                 int64_t begin, int64_t end, uint16_t *out)
{
    DISPATCH(rows_bf16, packed + 8 * begin, scale + begin, planes, end - begin, out + 16 * begin);
}

API void trtkit_decode_rows_f32(int isa, const uint8_t *packed, const uint8_t *scale, const float *values,
                                const float *scales, int64_t begin, int64_t end, float *out)
{
    DISPATCH(rows_f32, packed + 8 * begin, scale + begin, values, scales, end - begin, out + 16 * begin);
}

API void trtkit_decode_columns_bf16(int isa, const uint8_t *packed, const uint8_t *scale, const uint8_t *planes,
                                    int64_t columns, int64_t begin, int64_t end, uint16_t *out)
{
    int64_t skip = begin * columns;
    DISPATCH(columns_bf16, packed + 8 * skip, scale + skip, planes, end - begin, columns, out + 16 * skip);
}

API void trtkit_decode_columns_f32(int isa, const uint8_t *packed, const uint8_t *scale, const float *values,
                                   const float *scales, int64_t columns, int64_t begin, int64_t end, float *out)
{
    int64_t skip = begin * columns;
    DISPATCH(columns_f32, packed + 8 * skip, scale + skip, values, scales, end - begin, columns, out + 16 * skip);
}

API void trtkit_encode_rows(int isa, const uint16_t *values, const Encoding *encoding, int64_t begin, int64_t end,
                            uint8_t *packed, uint8_t *scale)
{
    DISPATCH(encode_rows, values + 16 * begin, encoding, end - begin, packed + 8 * begin, scale + begin);
}

API void trtkit_encode_columns(int isa, const uint16_t *values, const Encoding *encoding, int64_t columns,
                               int64_t begin, int64_t end, uint8_t *packed, uint8_t *scale)
{
    int64_t skip = begin * columns;
    DISPATCH(encode_columns, values + 16 * skip, encoding, end - begin, columns, packed + 8 * skip, scale + skip);
}

/* from [rows][from_stride] to [columns][to_stride]. */
API void trtkit_transpose(int isa, const uint8_t *from, int64_t rows, int64_t columns, int64_t from_stride, uint8_t *to,
                          int64_t to_stride)
{
    DISPATCH(transpose, from, rows, columns, from_stride, to, to_stride);
}

/* packed [blocks][16], scale [blocks][2] into out [blocks][16], scales [blocks]. */
API void trtkit_transcode_rows(int isa, const uint8_t *packed, const uint8_t *scale, const Transcoding *tables,
                               int64_t begin, int64_t end, uint8_t *out, uint8_t *scales, Report *report)
{
    DISPATCH(transcode, packed + 16 * begin, scale + 2 * begin, 1, tables, end - begin, out + 16 * begin,
             scales + begin, report);
}

static int64_t strips_of(int64_t rows)
{
    return (rows + STRIP - 1) / STRIP;
}

/* packed [experts][16 B][N], scale [experts][2 B][N] into out [experts][N][B][16], scales [experts][N][B]. A unit is a
 * strip of STRIP columns of an expert: transposed into ``out``, where it is then recoded while the cache has it. */
API void trtkit_transcode_columns(int isa, const uint8_t *packed, const uint8_t *scale, const Transcoding *tables,
                                  int64_t blocks, int64_t columns, int64_t begin, int64_t end, uint8_t *out,
                                  uint8_t *scales, Report *report)
{
    const int64_t strips = strips_of(columns);
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t expert = unit / strips, first = unit % strips * STRIP;
        const int64_t count = columns - first < STRIP ? columns - first : STRIP;
        const uint8_t *from = packed + expert * 16 * blocks * columns + first;
        uint8_t *to = out + (expert * columns + first) * 16 * blocks;
        DISPATCH(transpose, from, 16 * blocks, count, columns, to, 16 * blocks);
        for (int64_t n = 0; n < count; n++) {
            const uint8_t *column = scale + expert * 2 * blocks * columns + first + n;
            uint8_t *row = to + n * 16 * blocks;
            DISPATCH(transcode, row, column, columns, tables, blocks, row,
                     scales + (expert * columns + first + n) * blocks, report);
        }
    }
}

/* MXFP4 to NVFP4 (toolkit/numerics/cast.py has the rule) */

typedef struct {
    const uint8_t *e4m3;     /* [E8M0 byte]: the block scale */
    const uint8_t *recoded;  /* [GONE + 1][packed byte]: the byte under a scale 2^t larger */
    const double *error;     /* [GONE + 1][packed byte]: squared error in units of the old scale */
    const uint16_t *squares; /* [packed byte]: four times the sum of both squared values */
    int64_t exponent;        /* m */
} Casting;

static void cast_block(const uint8_t *block, uint8_t scale, const Casting *tables, uint8_t *packed, int64_t stride,
                       Report *report)
{
    unsigned squares = 0;
    double square, error = 0;
    const uint64_t bits = (uint64_t)(1023 + 2 * (scale - BIAS)) << 52; /* 4^(scale - BIAS) */
    memcpy(&square, &bits, 8);
    for (int p = 0; p < 16; p++)
        squares += tables->squares[block[p]];
    report->norm += 0.25 * squares * square;
    const int64_t below = tables->exponent - 9 + BIAS - scale;
    if (below > 0) {
        const int64_t row = 256 * (below < GONE ? below : GONE);
        for (int p = 0; p < 16; p++) {
            packed[p * stride] = tables->recoded[row + block[p]];
            error += tables->error[row + block[p]];
        }
        report->error += error * square;
    }
    report->out_of_range += below > 0;
    report->exact += error == 0;
}

/* blocks [experts][N][B][16], scales [experts][N][B] into packed [experts][16 B][N], scale [experts][2 B][N]. */
API void trtkit_cast(int isa, const uint8_t *blocks, const uint8_t *scales, const Casting *tables, int64_t count,
                     int64_t rows, int64_t begin, int64_t end, uint8_t *packed, uint8_t *scale, Report *report)
{
    const int64_t strips = strips_of(rows), bytes = 16 * count;
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t expert = unit / strips, first = unit % strips * STRIP;
        const int64_t height = rows - first < STRIP ? rows - first : STRIP;
        const uint8_t *from = blocks + (expert * rows + first) * bytes;
        const uint8_t *old = scales + (expert * rows + first) * count;
        uint8_t *to = packed + expert * bytes * rows + first, *new = scale + expert * 2 * count * rows + first;
        DISPATCH(transpose, from, height, bytes, bytes, to, rows);
        for (int64_t n = 0; n < height; n++)
            for (int64_t b = 0; b < count; b++) {
                const uint8_t byte = old[n * count + b];
                new[2 * b * rows + n] = new[(2 * b + 1) * rows + n] = tables->e4m3[byte];
                cast_block(from + n * bytes + 16 * b, byte, tables, to + 16 * b * rows + n, rows, report);
            }
    }
}
