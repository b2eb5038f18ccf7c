/* Random numbers: Philox 4x64-10 as NumPy's, key (seed, hash of the equation's path), counter (block + 1, 0, step, 0). */
typedef struct { uint64_t word[4]; } philox_block;

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 twice_;
static inline uint64_t high_(uint64_t a, uint64_t b) { return (uint64_t)((twice_)a * b >> 64); }
#else
static inline uint64_t high_(uint64_t a, uint64_t b)
{
    uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    uint64_t mid = a1 * b0 + (a0 * b0 >> 32), low = a0 * b1 + (mid & 0xffffffff);
    return a1 * b1 + (mid >> 32) + (low >> 32);
}
#endif

static inline philox_block philox_(uint64_t seed, uint64_t key, uint64_t block, uint64_t step)
{
    uint64_t c0 = block + 1, c1 = 0, c2 = step, c3 = 0;
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = UINT64_C(0xD2E7470EE14C6C93) * c0, h0 = high_(UINT64_C(0xD2E7470EE14C6C93), c0);
        uint64_t p1 = UINT64_C(0xCA5A826395121157) * c2, h1 = high_(UINT64_C(0xCA5A826395121157), c2);
        c0 = h1 ^ c1 ^ seed;
        c1 = p1;
        c2 = h0 ^ c3 ^ key;
        c3 = p0;
        seed += UINT64_C(0x9E3779B97F4A7C15);
        key += UINT64_C(0xBB67AE8584CAA73B);
    }
    return (philox_block){{c0, c1, c2, c3}};
}

static inline double unit_(uint64_t word) { return (double)(word >> 11) * 0x1p-53; }
static inline real uniform_(uint64_t word) { return sizeof(real) == 8 ? (real)unit_(word) : (real)(word >> 40) * (real)0x1p-24; }

/* Elements first, ..., first + n - 1 of the stream: element k is word k % 4 of block k / 4. */
static void draw_uniform(int64_t seed, int64_t step, uint64_t key, int64_t first, int64_t n, real *out)
{
    for (int64_t k = first - first % 4; k < first + n; k += 4) {
        const philox_block b = philox_((uint64_t)seed, key, (uint64_t)(k / 4), (uint64_t)step);
        if (k >= first && k + 4 <= first + n) {
            for (int j = 0; j < 4; j++) out[k - first + j] = uniform_(b.word[j]);
        } else {                                                 /* the first block or the last one, not all of it */
            for (int j = 0; j < 4; j++)
                if (k + j >= first && k + j < first + n) out[k - first + j] = uniform_(b.word[j]);
        }
    }
}

/* Box-Muller in double precision: elements 2m and 2m + 1 from words 2m and 2m + 1. */
static void draw_normal(int64_t seed, int64_t step, uint64_t key, int64_t first, int64_t n, real *out)
{
    philox_block b = {{0, 0, 0, 0}};
    for (int64_t k = first - first % 2; k < first + n; k += 2) {
        if (k == first - first % 2 || k % 4 == 0) b = philox_((uint64_t)seed, key, (uint64_t)(k / 4), (uint64_t)step);
        double radius = sqrt(-2 * log1p(-unit_(b.word[k % 4]))), angle = 6.283185307179586 * unit_(b.word[k % 4 + 1]);
        if (k >= first) out[k - first] = (real)(radius * cos(angle));
        if (k + 1 < first + n) out[k + 1 - first] = (real)(radius * sin(angle));
    }
}
