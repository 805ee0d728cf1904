/* Each instruction set of the kernels against their plain C, on random bytes and odd sizes: for processors on which the
 * Python tests do not run, under an emulator. Ends with status 1 and a line for each difference. */
#include "kernels.c"

#include <stdio.h>
#include <stdlib.h>

enum { LARGEST = 1 << 20, ROWS = 127 * STEPS };

static uint64_t state = 20240229;
static int failures;

static uint32_t number(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static void fill(uint8_t *bytes, size_t count, uint32_t below)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)number(below);
}

/* What both made of the same input, and a guard behind it that neither may touch. */
static void expect_equal(const char *name, int64_t size, const uint8_t *plain, const uint8_t *simd, size_t bytes)
{
    if (memcmp(plain, simd, bytes + 64)) {
        printf("%s differs at size %lld\n", name, (long long)size);
        failures++;
    }
}

static uint8_t *output(size_t bytes)
{
    uint8_t *memory = calloc(bytes + 64 + 1, 1);
    if (memory == NULL)
        exit(2);
    return memory;
}

#define BOTH(name, size, bytes, call)                                                                                  \
    do {                                                                                                               \
        uint8_t *results[2] = {output(bytes), output(bytes)};                                                          \
        for (int side = 0; side < 2; side++) {                                                                         \
            const int used = side ? isa : SCALAR;                                                                      \
            uint8_t *out = results[side];                                                                              \
            call;                                                                                                      \
        }                                                                                                              \
        expect_equal(name, size, results[0], results[1], bytes);                                                       \
        free(results[0]);                                                                                              \
        free(results[1]);                                                                                              \
    } while (0)

static uint8_t bytes[LARGEST + 1], scale[LARGEST], planes[256 * 32];
static float values[16], scales[256];
static Encoding encoding;

static void decode(int isa, int64_t n)
{
    BOTH("rows bf16", n, 32 * n, trtkit_decode_rows_bf16(used, bytes + 1, scale, planes, 0, n, (uint16_t *)out));
    BOTH("rows f32", n, 64 * n, trtkit_decode_rows_f32(used, bytes + 1, scale, values, scales, 0, n, (float *)out));
    BOTH("columns bf16", n, 96 * n,
         trtkit_decode_columns_bf16(used, bytes + 1, scale, planes, n, 0, 3, (uint16_t *)out));
    BOTH("columns f32", n, 192 * n,
         trtkit_decode_columns_f32(used, bytes + 1, scale, values, scales, n, 0, 3, (float *)out));
}

static void encode(int isa, int64_t n)
{
    const uint16_t *x = (const uint16_t *)bytes;
    BOTH("encode rows", n, 9 * n, trtkit_encode_rows(used, x, &encoding, 0, n, out, out + 8 * n));
    BOTH("encode columns", n, 18 * n, trtkit_encode_columns(used, x, &encoding, n, 0, 2, out, out + 16 * n));
}

static void move(int isa, int64_t n)
{
    static uint8_t recoded[(GONE + 1) * 256], e4m3[256];
    static double error[(GONE + 1) * 256];
    static uint16_t squares[256];
    for (int i = 0; i < 256; i++) {
        e4m3[i] = (uint8_t)(i / 2);
        squares[i] = (uint16_t)i;
        for (int t = 0; t <= GONE; t++)
            recoded[256 * t + i] = (uint8_t)(i >> t);
    }
    const Casting tables = {e4m3, recoded, error, squares, 4};
    BOTH("transpose", n, 70 * n, trtkit_transpose(used, bytes, 70, n, n, out, 70));
    BOTH("cast", n, 2 * 54 * n + sizeof(Report),
         trtkit_cast(used, bytes, scale, &tables, 3, n, 0, 2 * strips_of(n), out + sizeof(Report),
                     out + sizeof(Report) + 96 * n, (Report *)out));
}

/* Tables of whole numbers, so that sums are exact in any order. */
static void transcode(int isa, int64_t n)
{
    static int64_t fit[127 * 8], full[127];
    static double gain[ROWS * 8], error[ROWS * 8], power[127 * 8];
    static uint64_t lossy[ROWS], counts[256];
    static uint8_t recoded[ROWS * 16];
    for (int i = 0; i < ROWS * 8; i++) {
        gain[i] = (double)number(100) - 45;
        error[i] = number(3) ? 0 : number(100);
        recoded[2 * i] = recoded[2 * i + 1] = (uint8_t)number(16);
    }
    for (int i = 0; i < ROWS; i++)
        for (int m = 0; m < 8; m++)
            lossy[i] |= error[8 * i + m] > 0 ? (uint64_t)0xFF << 8 * m : 0;
    for (int i = 0; i < 127 * 8; i++) {
        fit[i] = i / 64 + i % 8 / 2;
        full[i / 8] = i / 64 + 3;
        power[i] = number(100);
    }
    for (int i = 0; i < 256; i++)
        counts[i] = ((uint64_t)1 << 8 * (i & 7)) + ((uint64_t)1 << 8 * (i >> 4 & 7));
    const Transcoding tables = {fit, full, gain, error, power, lossy, recoded, counts};
    BOTH("transcode rows", n, 17 * n + sizeof(Report),
         trtkit_transcode_rows(used, bytes, scale, &tables, 0, n, out + sizeof(Report), out + sizeof(Report) + 16 * n,
                               (Report *)out));
    BOTH("transcode columns", n, 2 * 51 * n + sizeof(Report),
         trtkit_transcode_columns(used, bytes, scale, &tables, 3, n, 0, 2 * strips_of(n), out + sizeof(Report),
                                  out + sizeof(Report) + 96 * n, (Report *)out));
}

int main(void)
{
    static const int64_t sizes[] = {1,  2,  7,   8,   15,  16,  17,  31,  32,  33,  63,
                                    64, 65, 100, 127, 128, 129, 200, 256, 300, 520, 1027};
    float e4m3[256];
    for (int i = 0; i < 256; i++) {
        e4m3[i] = i % 128 == 127 ? f32_of(0x7FC00000) : (float)(i % 128);
        scales[i] = (float)i / 7;
    }
    for (int i = 0; i < 16; i++)
        values[i] = (float)(i < 9 ? i : 8 - i) / 2;
    trtkit_encoding(0.01f, e4m3, &encoding);
    int sets = 0;
    for (int isa = AVX2; isa <= NEON; isa++) {
        if (!trtkit_supports(isa))
            continue;
        sets++;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill(bytes, sizeof bytes, 256);
            fill(scale, sizeof scale, 127);
            fill(planes, sizeof planes, 256);
            decode(isa, sizes[i]);
            encode(isa, sizes[i]);
            move(isa, sizes[i]);
            transcode(isa, sizes[i]);
        }
    }
    printf("%d instruction sets, %d differences\n", sets, failures);
    return failures != 0 || sets == 0;
}
