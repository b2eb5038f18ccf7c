/* Convolution by register blocks, channels last. A block of the result (some places along a line, some vectors of outputs) stays
   in registers while all elements and channels of its windows pass; the image is padded, and its channels put last where they are
   not, for a few lines at a time, which stay in the cache. WIDE numbers make a vector, SUMS of them stand in registers. */
#if defined(__GNUC__) && (defined(__AVX512F__) || defined(__AVX__) || defined(__SSE2__) || defined(__ARM_NEON))
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 32")
#if defined(__AVX512F__)
#define VECTOR_BITS 512
enum { SUMS = 28 };
#elif defined(__AVX__)
#define VECTOR_BITS 256
enum { SUMS = 12 };
#else
#define VECTOR_BITS 128
enum { SUMS = 12 };
#endif
typedef real vector __attribute__((vector_size(VECTOR_BITS / 8), aligned(sizeof(real)), may_alias));
#else
#define INLINE static inline
#define UNROLLED
typedef real vector;
enum { SUMS = 12 };
#endif
enum { WIDE = sizeof(vector) / sizeof(real) };

/* What a convolution is of. The image stands in memory with the distances `example`, `line`, `place`, `channel`, the result with
   `out_example`, `out_line`, `out_place`; one row of the kernel begins `kernel_row` after the other. `block`: lines of the result
   at a time; `copied`: the image passes through a block of padded lines. */
typedef struct {
    int64_t rows, columns, channels, high, wide, outputs, k, k_wide, stride, stride_wide, dilation, dilation_wide, above, before;
    int64_t padded, example, line, place, channel, out_example, out_line, out_place, out_channel, kernel_row, block, copied;
} convolution;

/* Lines i*stride - above of an image on, zeros around it, channels last. */
INLINE void padded_lines(const real *x, real *out, int64_t i, int64_t high, const convolution s)
{
    const int64_t count = (high - 1) * s.stride + (s.k - 1) * s.dilation + 1, first = i * s.stride - s.above;
    for (int64_t r = first; r < first + count; r++, out += s.padded * s.channels) {
        if (r < 0 || r >= s.rows) {
            memset(out, 0, (size_t)(s.padded * s.channels) * sizeof(real));
            continue;
        }
        memset(out, 0, (size_t)(s.before * s.channels) * sizeof(real));
        real *to = out + s.before * s.channels;
        if (s.channel == 1 && s.place == s.channels) {
            memcpy(to, x + r * s.line, (size_t)(s.columns * s.channels) * sizeof(real));
        } else {
            for (int64_t j = 0; j < s.columns; j++)
                for (int64_t c = 0; c < s.channels; c++)
                    to[j * s.channels + c] = x[r * s.line + j * s.place + c * s.channel];
        }
        to += s.columns * s.channels;
        memset(to, 0, (size_t)((s.padded - s.before - s.columns) * s.channels) * sizeof(real));
    }
}

/* Some places along a line of the result, and `vectors` of their outputs; those beyond the last output are not stored. */
INLINE void convolved(const real *image, int64_t line, const real *kernel, int64_t row, int64_t distance, real *out, int places,
                      int vectors, const convolution s)
{
    const int64_t parts = s.dilation_wide == 1 ? 1 : s.k_wide, run = s.k_wide / parts * s.channels;
    vector sum[SUMS];
    UNROLLED for (int r = 0; r < places * vectors; r++) sum[r] = (vector){0};
    for (int64_t p = 0; p < s.k; p++)
        for (int64_t q = 0; q < parts; q++) {
            const real *seen = image + p * s.dilation * line + q * s.dilation_wide * s.channels;
            const real *k = kernel + p * row + q * run * distance;
            for (int64_t n = 0; n < run; n++, k += distance) {
                vector weight[4];
                UNROLLED for (int v = 0; v < vectors; v++) weight[v] = *(const vector *)(k + v * WIDE);
                UNROLLED for (int r = 0; r < places; r++)
                    UNROLLED for (int v = 0; v < vectors; v++)
                        sum[r * vectors + v] += seen[r * s.stride_wide * s.channels + n] * weight[v];
            }
        }
    UNROLLED for (int r = 0; r < places; r++)
        UNROLLED for (int v = 0; v < vectors; v++) {
            if (s.outputs < WIDE)
                memcpy(out + r * s.out_place, &sum[r], (size_t)s.outputs * sizeof(real));
            else
                *(vector *)(out + r * s.out_place + v * WIDE) = sum[r * vectors + v];
        }
}

/* The examples `from` up to `to` of out[b, i, o] = the sum over p, c of x[b, i*stride + p*dilation - padding, c] * kernel[p, c, o].
   `band` has place for a block of padded lines, `full` for a kernel whose outputs fill a vector. */
INLINE void convolve(const real *x, const real *kernel, real *out, int64_t from, int64_t to, real *band, real *full,
                     const convolution s)
{
    const int n = s.outputs < WIDE ? 1 : (int)(s.outputs / WIDE);
    const int vectors = n >= 4 && s.wide <= SUMS / 4 ? 4 : n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : n > 1 ? 2 : 1;
    const int blocks = (int)((s.wide + SUMS / vectors - 1) / (SUMS / vectors)), places = (int)((s.wide + blocks - 1) / blocks);
    const int64_t step = vectors * WIDE, last = s.outputs - step, distance = s.outputs < WIDE ? WIDE : s.outputs;
    const int64_t row = s.outputs < WIDE ? s.k_wide * s.channels * WIDE : s.kernel_row;
    if (s.outputs < WIDE) {
        memset(full, 0, (size_t)(s.k * row) * sizeof(real));
        for (int64_t p = 0; p < s.k; p++)
            for (int64_t m = 0; m < s.k_wide * s.channels; m++)
                memcpy(full + p * row + m * WIDE, kernel + p * s.kernel_row + m * s.outputs, (size_t)s.outputs * sizeof(real));
        kernel = full;
    }
    for (int64_t b = from; b < to; b++)
        for (int64_t i = 0; i < s.high; i += s.block) {
            const int64_t high = s.high - i < s.block ? s.high - i : s.block, line = s.copied ? s.padded * s.channels : s.line;
            const real *image = s.copied ? band : x + b * s.example + i * s.stride * s.line;
            if (s.copied)
                padded_lines(x + b * s.example, band, i, high, s);
            for (int64_t o = 0; o < s.outputs; o += step) {
                const int64_t at = o < last ? o : last > 0 ? last : 0;           /* the last block may begin within the one before */
                for (int64_t r = 0; r < high; r++)
                    for (int64_t j = 0; j < s.wide; j += places) {
                        const int64_t here = j < s.wide - places ? j : s.wide - places;
                        convolved(image + r * s.stride * line + here * s.stride_wide * s.channels, line, kernel + at, row, distance,
                                  out + b * s.out_example + (i + r) * s.out_line + here * s.out_place + at, places, vectors, s);
                    }
            }
        }
}

/* Some elements of a run of the kernel, and `vectors` of their outputs: added up over the places of a block of lines. The first
   `skipped` elements belong to the run before; `left` outputs are wanted; what is `new` replaces, the rest is added. */
INLINE void correlated(const real *image, int64_t line, const real *g, int64_t g_line, int64_t g_place, int64_t high, real *out,
                       int elements, int64_t skipped, int vectors, int64_t left, bool new, const convolution s)
{
    vector sum[SUMS];
    UNROLLED for (int r = 0; r < elements * vectors; r++) sum[r] = (vector){0};
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < s.wide; j++) {
            const real *seen = image + i * s.stride * line + j * s.stride_wide * s.channels, *at = g + i * g_line + j * g_place;
            vector value[4];
            UNROLLED for (int v = 0; v < vectors; v++) value[v] = *(const vector *)(at + v * WIDE);
            UNROLLED for (int r = 0; r < elements; r++)
                UNROLLED for (int v = 0; v < vectors; v++) sum[r * vectors + v] += seen[r] * value[v];
        }
    real each[SUMS * WIDE];
    memcpy(each, sum, (size_t)(elements * vectors) * sizeof(vector));
    const int64_t count = left < vectors * WIDE ? left : vectors * WIDE;
    for (int64_t r = skipped; r < elements; r++)
        for (int64_t o = 0; o < count; o++)
            out[r * s.outputs + o] = each[r * vectors * WIDE + o] + (new ? 0 : out[r * s.outputs + o]);
}

/* Some lines of g with vectors of outputs, which are 0 beyond the last one. */
INLINE void filled_lines(const real *g, real *out, int64_t high, int64_t width, const convolution s)
{
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < s.wide; j++, out += width) {
            for (int64_t o = 0; o < s.outputs; o++) out[o] = g[i * s.out_line + j * s.out_place + o * s.out_channel];
            for (int64_t o = s.outputs; o < width; o++) out[o] = 0;
        }
}

/* out[p, c, o] = the sum over `count` examples b and places i of x[b, i*stride + p*dilation - padding, c] * g[b, i, o]: share `me`
   of `many` of the kernel's elements. `band` and `full` have place for a block of lines of the image and of g. */
INLINE void correlate(const real *x, const real *g, real *out, int64_t count, int64_t me, int64_t many, real *band, real *full,
                      const convolution s)
{
    const int n = (int)((s.outputs + WIDE - 1) / WIDE), vectors = n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : 1;
    const int64_t parts = s.dilation_wide == 1 ? 1 : s.k_wide, run = s.k_wide / parts * s.channels, most = SUMS / vectors;
    const int64_t blocks = (run + most - 1) / most, all = s.k * parts * blocks, line = s.copied ? s.padded * s.channels : s.line;
    const int elements = (int)((run + blocks - 1) / blocks), filled = s.out_channel != 1 || s.outputs % WIDE != 0;
    const int64_t g_place = filled ? n * WIDE : s.out_place, g_line = filled ? s.wide * g_place : s.out_line;
    for (int64_t b = 0; b < count; b++)
        for (int64_t i = 0; i < s.high; i += s.block) {
            const int64_t high = s.high - i < s.block ? s.high - i : s.block;
            const real *image = s.copied ? band : x + b * s.example + i * s.stride * s.line;
            const real *here = filled ? full : g + b * s.out_example + i * s.out_line;
            if (s.copied)
                padded_lines(x + b * s.example, band, i, high, s);
            if (filled)
                filled_lines(g + b * s.out_example + i * s.out_line, full, high, g_place, s);
            for (int64_t u = all * me / many; u < all * (me + 1) / many; u++) {
                const int64_t p = u / blocks / parts, q = u / blocks % parts, e = u % blocks * elements;
                const int64_t at = e < run - elements ? e : run - elements;      /* the last block may begin within the one before */
                for (int64_t o = 0; o < s.outputs; o += vectors * WIDE)
                    correlated(image + p * s.dilation * line + q * s.dilation_wide * s.channels + at, line, here + o, g_line,
                               g_place, high, out + p * s.kernel_row + (q * run + at) * s.outputs + o, elements, e - at, vectors,
                               s.outputs - o, b == 0 && i == 0, s);
            }
        }
}

/* The same where every channel has a kernel of its own: element by element. */
INLINE void convolve_each(const real *x, const real *kernel, real *out, int64_t from, int64_t to, real *band, const convolution s)
{
    const int64_t line = s.padded * s.channels;
    for (int64_t b = from; b < to; b++)
        for (int64_t i = 0; i < s.high; i += s.block) {
            const int64_t high = s.high - i < s.block ? s.high - i : s.block;
            padded_lines(x + b * s.example, band, i, high, s);
            for (int64_t r = 0; r < high; r++)
                for (int64_t j = 0; j < s.wide; j++) {
                    real *target = out + b * s.out_example + (i + r) * s.out_line + j * s.out_place;
                    memset(target, 0, (size_t)s.channels * sizeof(real));
                    for (int64_t p = 0; p < s.k; p++)
                        for (int64_t q = 0; q < s.k_wide; q++) {
                            const real *seen = band + (r * s.stride + p * s.dilation) * line
                                               + (j * s.stride_wide + q * s.dilation_wide) * s.channels;
                            const real *k = kernel + (p * s.k_wide + q) * s.channels;
                            SIMD for (int64_t c = 0; c < s.channels; c++) target[c] += seen[c] * k[c];
                        }
                }
        }
}

INLINE void correlate_each(const real *x, const real *g, real *out, int64_t count, int64_t me, int64_t many, real *band,
                           const convolution s)
{
    const int64_t line = s.padded * s.channels, all = s.k * s.k_wide, from = all * me / many, to = all * (me + 1) / many;
    memset(out + from * s.channels, 0, (size_t)((to - from) * s.channels) * sizeof(real));
    for (int64_t b = 0; b < count; b++)
        for (int64_t i = 0; i < s.high; i += s.block) {
            const int64_t high = s.high - i < s.block ? s.high - i : s.block;
            padded_lines(x + b * s.example, band, i, high, s);
            for (int64_t u = from; u < to; u++)
                for (int64_t r = 0; r < high; r++)
                    for (int64_t j = 0; j < s.wide; j++) {
                        const real *seen = band + (r * s.stride + u / s.k_wide * s.dilation) * line
                                           + (j * s.stride_wide + u % s.k_wide * s.dilation_wide) * s.channels;
                        const real *here = g + b * s.out_example + (i + r) * s.out_line + j * s.out_place;
                        real *target = out + u * s.channels;
                        SIMD for (int64_t c = 0; c < s.channels; c++) target[c] += seen[c] * here[c * s.out_channel];
                    }
        }
}
