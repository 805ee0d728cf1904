/* The SIMD kernels for one instruction set; kernels.c includes this once for each, with V lanes of 128 bits a vector.
 *
 * Every step works within lanes, so one text serves 128, 256 and 512 bits: a lane holds one NVFP4 block (rows), or 16
 * neighbouring columns (columns). Where a zip would leave the columns of a vector out of order, SPREAD puts them into
 * the order beforehand that it makes consecutive.
 *
 * Rounds of zips transpose: with n vectors, a round rotates the bits of (vector number, place in its lane) by one.
 */
#define u8v FN(u8v)
#define u16v FN(u16v)
#define f32v FN(f32v)
typedef uint8_t u8v __attribute__((vector_size(16 * V), may_alias));
typedef uint16_t u16v __attribute__((vector_size(16 * V), may_alias));
typedef float f32v __attribute__((vector_size(16 * V), may_alias));

#define ROUND(bits, n, from, to)                                                                                       \
    for (int i_ = 0; i_ < (n) / 2; i_++) {                                                                             \
        (to)[2 * i_] = ZIPLO(bits, (from)[i_], (from)[i_ + (n) / 2]);                                                  \
        (to)[2 * i_ + 1] = ZIPHI(bits, (from)[i_], (from)[i_ + (n) / 2]);                                              \
    }

/* Stores past the cache pay for results that it cannot hold anyway. */
static inline int FN(streams)(const void *out, int64_t bytes, int64_t row_bytes)
{
    return bytes >= STREAMED && (uintptr_t)out % (16 * V) == 0 && row_bytes % (16 * V) == 0;
}

static inline void FN(put)(void *to, u8v value, int stream)
{
    if (stream)
        STREAM(to, value);
    else
        STORE(to, value);
}

static void FN(rows_bf16)(const uint8_t *packed, const uint8_t *scale, const uint8_t *planes, int64_t blocks,
                          uint16_t *out)
{
    const int stream = FN(streams)(out, 32 * blocks, 0);
    int64_t b = 0;
    for (; b + V <= blocks; b += V) {
#define LOW(i) (planes + 32 * (size_t)scale[b + i])
#define HIGH(i) (LOW(i) + 16)
        const u16v bytes = WIDEN(packed + 8 * b);
        const u8v codes = (u8v)((bytes | bytes << 4) & 0x0F0F);
        const u8v low = LOOKUP(LANES(LOW), codes), high = LOOKUP(LANES(HIGH), codes);
        const u8v head = ZIPLO(8, low, high), tail = ZIPHI(8, low, high);
        FN(put)(out + 16 * b, FIRST_PAIRS(head, tail), stream);
        FN(put)(out + 16 * b + 8 * V, LAST_PAIRS(head, tail), stream);
#undef LOW
#undef HIGH
    }
    FENCE();
    scalar_rows_bf16(packed + 8 * b, scale + b, planes, blocks - b, out + 16 * b);
}

/* The 16 values as BF16, which holds them exactly: their low bytes and their high bytes in each lane. */
static inline void FN(value_planes)(const float *values, u8v planes[2])
{
    uint8_t bytes[2][16];
    for (int code = 0; code < 16; code++) {
        bytes[0][code] = (uint8_t)(bits_of(values[code]) >> 16);
        bytes[1][code] = (uint8_t)(bits_of(values[code]) >> 24);
    }
#define SAME(i) bytes[0]
    planes[0] = LANES(SAME);
#undef SAME
#define SAME(i) bytes[1]
    planes[1] = LANES(SAME);
#undef SAME
}

static void FN(rows_f32)(const uint8_t *packed, const uint8_t *scale, const float *values, const float *scales,
                         int64_t blocks, float *out)
{
    u8v planes[2];
    float fours[256][4];
    FN(value_planes)(values, planes);
    for (int i = 0; i < 1024; i++)
        fours[i / 4][i % 4] = scales[i / 4];
    int64_t b = 0;
    for (; b + V <= blocks; b += V) {
#define FACTOR(i) fours[scale[b + i]]
        const f32v factor = (f32v)LANES(FACTOR);
        const u16v bytes = WIDEN(packed + 8 * b);
        const u8v codes = (u8v)((bytes | bytes << 4) & 0x0F0F), zero = {0};
        const u8v low = LOOKUP(planes[0], codes), high = LOOKUP(planes[1], codes);
        const u8v halves[2] = {ZIPLO(8, low, high), ZIPHI(8, low, high)};
        for (int h = 0; h < 2; h++) {
            const u8v first = (u8v)((f32v)ZIPLO(16, zero, halves[h]) * factor);
            const u8v last = (u8v)((f32v)ZIPHI(16, zero, halves[h]) * factor);
#define TO(i) (out + 16 * (b + i) + 8 * h)
            SCATTER(TO, first);
#undef TO
#define TO(i) (out + 16 * (b + i) + 8 * h + 4)
            SCATTER(TO, last);
#undef TO
        }
#undef FACTOR
    }
    scalar_rows_f32(packed + 8 * b, scale + b, values, scales, blocks - b, out + 16 * b);
}

/* 16 V columns of one row of blocks. Their bytes are transposed so that a lane holds 16 codes of a column, looked up
 * under its scale byte, and transposed back. */
static inline void FN(tile_bf16)(const uint8_t *packed, const uint8_t *scale, const uint8_t *planes, int64_t columns,
                                 uint16_t *out, int stream)
{
    u8v bytes[8], turned[8], rows[2][16];
    for (int p = 0; p < 8; p++)
        bytes[p] = SPREAD64(LOAD(packed + p * columns));
    ROUND(8, 8, bytes, turned)
    ROUND(8, 8, turned, bytes)
    ROUND(8, 8, bytes, turned) /* turned[i]: columns 2 i and 2 i + 1, eight bytes each */
    for (int half = 0; half < 2; half++) {
        u8v values[2][8], *to = rows[half];
        for (int c = 0; c < 8; c++) {
            const uint8_t *scales = scale + 8 * V * half + c;
#define LOW(i) (planes + 32 * (size_t)scales[8 * (i)])
#define HIGH(i) (LOW(i) + 16)
            const u8v pair = turned[4 * half + c / 2];
            const u8v even = (u8v)((u16v)pair & 0x0F0F), odd = (u8v)((u16v)pair >> 4 & 0x0F0F);
            const u8v codes = c % 2 ? ZIPHI(8, even, odd) : ZIPLO(8, even, odd);
            const u8v low = LOOKUP(LANES(LOW), codes), high = LOOKUP(LANES(HIGH), codes);
            values[0][c] = ZIPLO(8, low, high);
            values[1][c] = ZIPHI(8, low, high);
#undef LOW
#undef HIGH
        }
        for (int k = 0; k < 2; k++, to += 8) {
            ROUND(16, 8, values[k], to)
            ROUND(16, 8, to, values[k])
            ROUND(16, 8, values[k], to)
        }
    }
    for (int k = 0; k < 16; k++) { /* both halves at once: a line that is streamed in parts is slow */
        FN(put)(out + k * columns, rows[0][k], stream);
        FN(put)(out + k * columns + 8 * V, rows[1][k], stream);
    }
}

static void FN(columns_bf16)(const uint8_t *packed, const uint8_t *scale, const uint8_t *planes, int64_t blocks,
                             int64_t columns, uint16_t *out)
{
    const int stream = FN(streams)(out, 32 * blocks * columns, 2 * columns);
    for (int64_t b = 0; b < blocks; b++, packed += 8 * columns, scale += columns, out += 16 * columns) {
        int64_t n = 0;
        for (; n + 16 * V <= columns; n += 16 * V)
            FN(tile_bf16)(packed + n, scale + n, planes, columns, out + n, stream);
        edge_columns_bf16(packed, scale, planes, n, columns, out);
    }
    FENCE();
}

static void FN(columns_f32)(const uint8_t *packed, const uint8_t *scale, const float *values, const float *scales,
                            int64_t blocks, int64_t columns, float *out)
{
    const int stream = FN(streams)(out, 64 * blocks * columns, 4 * columns);
    u8v planes[2];
    FN(value_planes)(values, planes);
    for (int64_t b = 0; b < blocks; b++, packed += 8 * columns, scale += columns, out += 16 * columns) {
        int64_t n = 0;
        for (; n + 16 * V <= columns; n += 16 * V) {
            float factors[16 * V];
            f32v factor[4];
            for (int i = 0; i < 16 * V; i++)
                factors[i] = scales[scale[n + i]];
            for (int i = 0; i < 4; i++)
                factor[i] = (f32v)LOAD(factors + 4 * V * i);
            for (int k = 0; k < 16; k++) {
                const u16v bytes = (u16v)SPREAD32(LOAD(packed + k / 2 * columns + n));
                const u8v codes = (u8v)((k % 2 ? bytes >> 4 : bytes) & 0x0F0F), zero = {0};
                const u8v low = LOOKUP(planes[0], codes), high = LOOKUP(planes[1], codes);
                const u8v halves[2] = {ZIPLO(8, low, high), ZIPHI(8, low, high)};
                float *to = out + k * columns + n;
                for (int h = 0; h < 2; h++, to += 8 * V) {
                    FN(put)(to, (u8v)((f32v)ZIPLO(16, zero, halves[h]) * factor[2 * h]), stream);
                    FN(put)(to + 4 * V, (u8v)((f32v)ZIPHI(16, zero, halves[h]) * factor[2 * h + 1]), stream);
                }
            }
        }
        edge_columns_f32(packed, scale, values, scales, n, columns, out);
    }
    FENCE();
}

#if V < 4 /* loads of 64 bytes mostly cross a line, and made this slower than AVX2 where it was measured (Zen 4) */

/* Codes of x in 16-bit places, under the bounds of each place's scale byte. */
static inline u16v FN(codes)(u16v x, const u8v bounds[8])
{
    const u16v magnitude = x & 0x7FFF;
    u16v code = ABOVE(magnitude, bounds[7]) & x >> 12 & 8;
    for (int i = 0; i < 7; i++)
        code -= ABOVE(magnitude, bounds[i]);
    return code;
}

/* The largest magnitude of each of 8 V neighbouring columns; the values k of all blocks lie at x + k * stride. */
static inline u16v FN(largest)(const uint16_t *x, int64_t stride)
{
    u16v largest = (u16v)LOAD(x) & 0x7FFF;
    for (int k = 1; k < 16; k++)
        largest = LARGER(largest, (u16v)LOAD(x + k * stride) & 0x7FFF);
    return largest;
}

/* Their packed bytes p, in 16-bit places. */
static inline void FN(encode)(const uint16_t *x, int64_t stride, const Encoding *encoding, const uint8_t *scale,
                              u16v bytes[8])
{
    u8v bounds[8], turned[8];
    for (int j = 0; j < 8; j++) {
#define BOUNDS(i) encoding->bounds[scale[8 * (i) + j]]
        bounds[j] = LANES(BOUNDS);
#undef BOUNDS
    }
    ROUND(16, 8, bounds, turned)
    ROUND(16, 8, turned, bounds)
    ROUND(16, 8, bounds, turned)
    for (int p = 0; p < 8; p++)
        bytes[p] = FN(codes)((u16v)LOAD(x + 2 * p * stride), turned) |
                   FN(codes)((u16v)LOAD(x + (2 * p + 1) * stride), turned) << 4;
}

/* 8 V blocks of rows, transposed. */
static inline void FN(turn)(const uint16_t *values, u8v x[16])
{
    for (int k = 0; k < 16; k += 8) {
        u8v turned[8], *half = x + k;
        for (int j = 0; j < 8; j++) {
#define VALUES(i) (values + 16 * (8 * (i) + j) + k)
            turned[j] = LANES(VALUES);
#undef VALUES
        }
        ROUND(16, 8, turned, half)
        ROUND(16, 8, half, turned)
        ROUND(16, 8, turned, half)
    }
}

/* The values that lie ``ahead``. Asked for while codes are computed; the passes over values alone would wait for them. */
static inline void FN(fetch)(const uint16_t *values, int64_t ahead, int64_t count)
{
    for (int64_t i = 0; i < count; i += 32)
        __builtin_prefetch((const char *)values + 2 * (ahead + i));
}

/* Both go over a group of blocks twice, for its scales and then for its codes: the way from a block's values over its
 * largest and its scale to its bounds is long, and a group has many to walk at the same time. */
static void FN(encode_rows)(const uint16_t *values, const Encoding *encoding, int64_t blocks, uint8_t *packed,
                            uint8_t *scale)
{
    enum { GROUP = 32 / V };
    int64_t b = 0;
    for (; b + 8 * V * GROUP <= blocks; b += 8 * V * GROUP) {
        u8v x[GROUP][16], turned[8], *half = turned + 4;
        uint16_t amax[8 * V * GROUP];
        u16v bytes[8];
        for (int g = 0; g < GROUP; g++) {
            FN(turn)(values + 16 * (b + 8 * V * g), x[g]);
            STORE(amax + 8 * V * g, FN(largest)((const uint16_t *)x[g], 8 * V));
        }
        for (int i = 0; i < 8 * V * GROUP; i++)
            scale[b + i] = encoding->scale_of[amax[i]];
        for (int g = 0; g < GROUP; g++) {
            FN(fetch)(values + 16 * (b + 8 * V * g), 128 * V * GROUP, 128 * V);
            FN(encode)((const uint16_t *)x[g], 8 * V, encoding, scale + b + 8 * V * g, bytes);
            for (int p = 0; p < 4; p++)
                turned[p] = (u8v)(bytes[2 * p] | bytes[2 * p + 1] << 8);
            ROUND(16, 4, turned, half)
            ROUND(16, 4, half, turned)
            for (int j = 0; j < 4; j++) {
#define TO(i) (packed + 8 * (b + 8 * V * g + 8 * (i)) + 16 * j)
                SCATTER(TO, turned[j]);
#undef TO
            }
        }
    }
    scalar_encode_rows(values + 16 * b, encoding, blocks - b, packed + 8 * b, scale + b);
}

static void FN(encode_columns)(const uint16_t *values, const Encoding *encoding, int64_t blocks, int64_t columns,
                               uint8_t *packed, uint8_t *scale)
{
    enum { GROUP = 256 }; /* columns: 8 KiB of values */
    const int64_t whole = columns / (16 * V) * (16 * V);
    for (int64_t b = 0; b < blocks; b++, values += 16 * columns, packed += 8 * columns, scale += columns) {
        for (int64_t begin = 0; begin < whole; begin += GROUP) {
            const int64_t end = whole < begin + GROUP ? whole : begin + GROUP;
            const int64_t next = end < whole ? end - begin : 16 * columns - begin; /* where the next group is */
            u16v bytes[2][8];
            uint16_t amax[GROUP];
            for (int64_t n = begin; n < end; n += 8 * V)
                STORE(amax + n - begin, FN(largest)(values + n, columns));
            for (int64_t n = begin; n < end; n++)
                scale[n] = encoding->scale_of[amax[n - begin]];
            for (int64_t n = begin; n < end; n += 16 * V) {
                for (int k = 0; k < 16; k++)
                    FN(fetch)(values + n, next + k * columns, 16 * V);
                for (int h = 0; h < 2; h++)
                    FN(encode)(values + n + 8 * V * h, columns, encoding, scale + n + 8 * V * h, bytes[h]);
                for (int p = 0; p < 8; p++)
                    STORE(packed + p * columns + n, NARROW(bytes[0][p], bytes[1][p]));
            }
        }
        for (int64_t n = whole; n < columns; n++)
            scale[n] = encode_one(values + n, columns, encoding, packed + n);
    }
}

#endif

static void FN(transpose)(const uint8_t *from, int64_t rows, int64_t columns, int64_t from_stride, uint8_t *to,
                          int64_t to_stride)
{
    const int64_t height = rows / 16 * 16, width = columns / (16 * V) * (16 * V);
    for (int64_t c = 0; c < width; c += 16 * V)
        for (int64_t r = 0; r < height; r += 16) {
            u8v tile[16], turned[16];
            for (int i = 0; i < 16; i++)
                tile[i] = LOAD(from + (r + i) * from_stride + c);
            ROUND(8, 16, tile, turned)
            ROUND(8, 16, turned, tile)
            ROUND(8, 16, tile, turned)
            ROUND(8, 16, turned, tile)
            for (int j = 0; j < 16; j++) {
#define TO(i) (to + (c + 16 * (i) + j) * to_stride + r)
                SCATTER(TO, tile[j]);
#undef TO
            }
        }
    scalar_transpose(from + height * from_stride, rows - height, columns, from_stride, to + height, to_stride);
    scalar_transpose(from + width, height, columns - width, from_stride, to + width * to_stride, to_stride);
}


static inline void FN(recode)(const uint8_t *packed, const uint8_t *first, const uint8_t *second, uint8_t *out)
{
    const VECTOR128 low = LOW_NIBBLES_128(LOAD128(packed)), high = HIGH_NIBBLES_128(LOAD128(packed));
    const VECTOR128 a = LOOKUP128(LOAD128(first), ZIPLO64_128(low, high));
    const VECTOR128 b = LOOKUP128(LOAD128(second), ZIPHI64_128(low, high));
    STORE128(out, PACK_NIBBLES_128(ZIPLO64_128(a, b), ZIPHI64_128(a, b)));
}

/* In three passes over a few blocks, for the same reason as above. */
static void FN(transcode)(const uint8_t *packed, const uint8_t *scale, int64_t stride, const Transcoding *tables,
                          int64_t blocks, uint8_t *out, uint8_t *scales, Report *report)
{
    enum { GROUP = 32 };
    const u64x8 shifts = {0, 8, 16, 24, 32, 40, 48, 56};
    f64x8 error = {0}, norm = {0};
    for (int64_t begin = 0; begin < blocks; begin += GROUP) {
        const int count = (int)(blocks - begin < GROUP ? blocks - begin : GROUP);
        Choice choices[GROUP];
        double gains[GROUP];
        int64_t exact = 0;
        for (int b = 0; b < count; b++)
            choices[b] = unclipped(packed + 16 * b, scale + 2 * stride * b, stride, tables);
        for (int b = 0; b < count; b++) {
            const Choice *choice = choices + b;
/* counts as doubles: 2^52 + count, minus 2^52 */
#define DOUBLES(counts) ((f64x8)((((u64x8){0} + (counts)) >> shifts & 255) | 0x4330000000000000) - 4503599627370496.0)
#define TABLE(name, row) (*(const loose *)(tables->name + 8 * (row)))
            const f64x8 first = DOUBLES(choice->counts[0]), second = DOUBLES(choice->counts[1]);
            const f64x8 gain = TABLE(gain, choice->row[0]) * first + TABLE(gain, choice->row[1]) * second;
            norm += TABLE(power, scale[2 * stride * b]) * first + TABLE(power, scale[2 * stride * b + stride]) * second;
            gains[b] = ((gain[0] + gain[4]) + (gain[1] + gain[5])) + ((gain[2] + gain[6]) + (gain[3] + gain[7]));
        }
        for (int b = 0; b < count; b++) {
            Choice choice = choices[b];
            lower(&choice, gains[b]);
            error += TABLE(error, choice.row[0]) * DOUBLES(choice.counts[0]) +
                     TABLE(error, choice.row[1]) * DOUBLES(choice.counts[1]);
            exact += !((choice.counts[0] & tables->lossy[choice.row[0]]) |
                       (choice.counts[1] & tables->lossy[choice.row[1]]));
            FN(recode)(packed + 16 * b, tables->recoded + 16 * choice.row[0], tables->recoded + 16 * choice.row[1],
                       out + 16 * b);
            scales[begin + b] = (uint8_t)(choice.exponent + BIAS);
#undef TABLE
#undef DOUBLES
        }
        report->exact += exact;
        packed += 16 * GROUP;
        scale += 2 * stride * GROUP;
        out += 16 * GROUP;
    }
    for (int m = 0; m < 8; m++) {
        report->error += error[m];
        report->norm += norm[m];
    }
}

#undef u8v
#undef u16v
#undef f32v
#undef ROUND
#undef ISA
#undef V
#undef LOAD
#undef STORE
#undef STREAM
#undef WIDEN
#undef NARROW
#undef LOOKUP
#undef ZIPLO
#undef ZIPHI
#undef SPREAD64
#undef SPREAD32
#undef FIRST_PAIRS
#undef LAST_PAIRS
#undef LANES
#undef SCATTER
#undef LARGER
#undef ABOVE
