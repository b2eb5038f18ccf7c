/* Matrix products c = op(a) @ op(b), row by row in memory; TURNED: transposed. ADDED: to what c holds, else c is not read.

   A tile of c stays in registers while k is walked through: ROWS_ rows of up to COLUMNS_ vectors (Goto and van de Geijn 2008).
   Of b it reads whole vectors, from panels [n / LANE_][k][LANE_], which gemm packs on the stack, strip by strip: the panels of a
   tile, DEPTH_ rows deep, stay in the nearest cache while the tiles below it are computed. A matrix that many products take is packed once, by pack(), and is then PACKED, with ldb = k; from a column that is a multiple of 16 on, it
   is b + column * ldb, as if it were TURNED. Nothing is kept between calls: threads may compute parts of one product. */
enum { PLAIN = 0, TURNED = 1, PACKED = 2, ADDED = 4 };

#if defined(__AVX512F__)
enum { VECTOR_ = 64, ROWS_ = 8 };
#elif defined(__AVX__)
enum { VECTOR_ = 32, ROWS_ = 4 };
#elif defined(__aarch64__)
enum { VECTOR_ = 16, ROWS_ = 8 };
#elif defined(__GNUC__)
enum { VECTOR_ = 16, ROWS_ = 4 };
#else
enum { VECTOR_ = sizeof(real), ROWS_ = 4 };
#endif
enum { LANE_ = VECTOR_ / sizeof(real), COLUMNS_ = 3, WIDE_ = 8, DEPTH_ = 192, GROUP_ = 128, NEAR_ = 16 };
enum { STRIP_ = 18 * LANE_, FEW_ = 128 / sizeof(real) };

#if defined(__GNUC__)
typedef real vec_ __attribute__((vector_size(VECTOR_)));
typedef real vec_at_ __attribute__((vector_size(VECTOR_), aligned(sizeof(real)), may_alias));
#else
typedef real vec_, vec_at_;
#endif
#if !defined(INLINE_) && defined(__GNUC__)
#define INLINE_ static inline __attribute__((always_inline))   /* tiles of each size; -DINLINE_=static: one function */
#elif !defined(INLINE_)
#define INLINE_ static inline
#endif
#if defined(__clang__)
#define UNROLL_ _Pragma("clang loop unroll(full)")
#define ONCE_ static __attribute__((noinline, unused))
#elif defined(__GNUC__)
#define UNROLL_ _Pragma("GCC unroll 16")
#define ONCE_ static __attribute__((noinline, noclone, unused)) /* copies for constant arguments only take time to compile */
#else
#define UNROLL_
#define ONCE_ static
#endif

/* How a matrix lies: its first element, from row to row, from column to column; of b, columns are vectors. */
typedef struct { const real *at; int64_t down, right; } matrix_;

/* The columns of c in a vector that goes beyond them. */
ONCE_ void end_(int lanes, const real *last, real *out, int add)
{
    for (int q = 0; q < lanes; q++) out[q] = add ? out[q] + last[q] : last[q];
}

static inline int64_t least_(int64_t x, int64_t y) { return x < y ? x : y; }
static inline matrix_ part_(matrix_ x, int64_t i, int64_t j)
{
    return (matrix_){x.at + i * x.down + j * x.right, x.down, x.right};
}

/* A tile of c; of its last vector, `lanes` elements are columns of c. */
INLINE_ void tile_(const int rows, const int columns, int64_t k, matrix_ a, matrix_ b, real *restrict c, int64_t ldc,
                   int lanes, int add)
{
    vec_ sum[ROWS_][WIDE_];
    UNROLL_ for (int i = 0; i < rows; i++)
        UNROLL_ for (int j = 0; j < columns; j++)
            sum[i][j] = (vec_){0};
    for (int64_t p = 0; p < k; p++) {
        vec_ row[WIDE_];
        UNROLL_ for (int j = 0; j < columns; j++)
            row[j] = *(const vec_at_ *)(b.at + p * b.down + j * b.right);
        UNROLL_ for (int i = 0; i < rows; i++) {
            const real x = a.at[i * a.down + p * a.right];
            UNROLL_ for (int j = 0; j < columns; j++)
                sum[i][j] += x * row[j];
        }
    }
    UNROLL_ for (int i = 0; i < rows; i++)
        UNROLL_ for (int j = 0; j < columns; j++) {
            real *const out = c + i * ldc + j * LANE_;
            if (j < columns - 1 || lanes == LANE_) {
                if (add) sum[i][j] += *(const vec_at_ *)out;
                *(vec_at_ *)out = sum[i][j];
            } else {
                real last[LANE_];
                memcpy(last, &sum[i][j], sizeof last);
                end_(lanes, last, out, add);
            }
        }
}

/* Tiles of 1 << size rows, each a function of its own, so that its loop has all registers. */
typedef void some_tile_(int64_t k, const matrix_ *a, const matrix_ *b, real *c, int64_t ldc, int lanes, int add);
#define TILE_(size, columns) \
    ONCE_ void tile_##size##_##columns(int64_t k, const matrix_ *a, const matrix_ *b, real *c, int64_t ldc, int lanes, int add) \
    { tile_(1 << size < ROWS_ ? 1 << size : ROWS_, columns, k, *a, *b, c, ldc, lanes, add); }
TILE_(0, 1) TILE_(0, 2) TILE_(0, 3) TILE_(0, 8)
TILE_(1, 1) TILE_(1, 2) TILE_(1, 3) TILE_(1, 8)
TILE_(2, 1) TILE_(2, 2) TILE_(2, 3)
TILE_(3, 1) TILE_(3, 2) TILE_(3, 3)
static some_tile_ *const tiles_[][4] = {
    {tile_0_1, tile_0_2, tile_0_3, tile_0_8}, {tile_1_1, tile_1_2, tile_1_3, tile_1_8},
    {tile_2_1, tile_2_2, tile_2_3}, {tile_3_1, tile_3_2, tile_3_3}};

/* Of a panel whose columns stand as rows in memory: squares of vectors, turned by interleaving log2(LANE_) times their halves.
   The number of the panel's rows that are done so. */
INLINE_ int64_t turned_(const int width, int64_t n, int64_t k, const real *at, matrix_ from, real *to)
{
    int64_t p = 0;
#if defined(__GNUC__) && !defined(__clang__)
    if (width != LANE_ || n != LANE_ || from.down != 1) return 0;
    typedef __typeof__(__builtin_choose_expr(sizeof(real) == 8, (int64_t)0, (int32_t)0)) place;
    place low __attribute__((vector_size(VECTOR_))) = {0}, high __attribute__((vector_size(VECTOR_))) = {0};
    for (int q = 0; q < LANE_; q++) low[q] = q / 2 + q % 2 * LANE_, high[q] = low[q] + LANE_ / 2;
    for (; p + LANE_ <= k; p += LANE_) {
        vec_ row[2][LANE_];
        UNROLL_ for (int q = 0; q < LANE_; q++) row[0][q] = *(const vec_at_ *)(at + q * from.right + p);
        int now = 0;
        UNROLL_ for (int half = 1; half < LANE_; half *= 2, now = !now)
            UNROLL_ for (int q = 0; q < LANE_ / 2; q++) {
                row[!now][2 * q] = __builtin_shuffle(row[now][q], row[now][q + LANE_ / 2], low);
                row[!now][2 * q + 1] = __builtin_shuffle(row[now][q], row[now][q + LANE_ / 2], high);
            }
        UNROLL_ for (int q = 0; q < LANE_; q++) *(vec_at_ *)(to + (p + q) * LANE_) = row[now][q];
    }
#else
    (void)width, (void)n, (void)k, (void)at, (void)from, (void)to;
#endif
    return p;
}

/* Panels of a matrix with k rows: `width` columns, row by row, the last one filled up with zeros. */
INLINE_ void panels_(const int width, int64_t n, int64_t k, matrix_ from, real *to)
{
    const int64_t whole = from.right == 1 ? n / width * width : 0;
    for (int64_t p = 0; p < k; p += NEAR_)
        for (int64_t j = 0; j < whole; j += width)
            for (int64_t q = p; q < least_(p + NEAR_, k); q++)
                memcpy(to + j * k + q * width, from.at + q * from.down + j, width * sizeof(real));
    for (int64_t j = whole; j < n; j += width)
        for (int64_t p = turned_(width, least_(n - j, width), k, from.at + j * from.right, from, to + j * k); p < k; p++)
            for (int q = 0; q < width; q++)
                to[j * k + p * width + q] = q < n - j ? from.at[p * from.down + (j + q) * from.right] : 0;
}

/* Rows of c. Those of a that stand as columns in memory are copied next to each other first. One or two rows take more columns
   at once, so that enough sums are under way; of four vectors that are left, two tiles take two each. */
ONCE_ void rows_(int64_t m, int64_t n, int64_t k, matrix_ a, matrix_ b, real *c, int64_t ldc, int add)
{
    real near[GROUP_ * DEPTH_];
    const bool copied = a.right != 1 && m > 1 && k <= DEPTH_;
    const int wide = m <= 2 ? WIDE_ : COLUMNS_, last = (int)((n - 1) % LANE_) + 1;
    for (int64_t i = 0, some; i < m; i += some, c += some * ldc) {
        some = least_(m - i, GROUP_);
        if (copied) panels_(ROWS_, some, k, (matrix_){a.at + i * a.down, a.right, a.down}, near);
        matrix_ right = b;
        real *out = c;
        int64_t left = (n + LANE_ - 1) / LANE_;
        for (int step; left > 0; left -= step, right.at += step * b.right, out += step * LANE_) {
            step = left >= wide ? wide : left == COLUMNS_ + 1 ? 2 : (int)least_(left, COLUMNS_);
            for (int64_t r = 0, size = ROWS_ == 8 ? 3 : 2; r < some; r += 1 << size) {
                while (1 << size > some - r) size--;
                const matrix_ from = copied ? (matrix_){near + r / ROWS_ * ROWS_ * k + r % ROWS_, 1, ROWS_} : part_(a, i + r, 0);
                tiles_[size][least_(step, 4) - 1](k, &from, &right, out + r * ldc, ldc, step == left ? last : LANE_, add);
            }
        }
    }
}

/* Where panels begin, in memory that has room for 31 columns more than b: at a whole vector. */
static inline real *aligned_(const real *at) { return (real *)(((uintptr_t)at + VECTOR_ - 1) / VECTOR_ * VECTOR_); }

ONCE_ void pack(int turned, int64_t n, int64_t k, const real *b, int64_t ldb, real *packed)
{
    panels_(LANE_, n, k, turned ? (matrix_){b, 1, ldb} : (matrix_){b, ldb, 1}, aligned_(packed));
}

/* A row against rows of b, four of these at once. */
ONCE_ void dots_(int64_t n, int64_t k, const real *a, const real *b, int64_t ldb, real *c, int add)
{
    for (int64_t j = 0; j < n; j += 4) {
        const int some = (int)least_(n - j, 4);
        vec_ sum[4] = {0};
        real total[4] = {0}, lanes[LANE_];
        int64_t p = 0;
        for (; p + LANE_ <= k; p += LANE_)
            UNROLL_ for (int q = 0; q < 4; q++)
                sum[q] += *(const vec_at_ *)(a + p) * *(const vec_at_ *)(b + (j + (q < some ? q : 0)) * ldb + p);
        for (; p < k; p++)
            for (int q = 0; q < some; q++) total[q] += a[p] * b[(j + q) * ldb + p];
        for (int q = 0; q < some; q++) {
            memcpy(lanes, &sum[q], sizeof lanes);
            for (int half = LANE_ / 2; half > 0; half /= 2)
                for (int r = 0; r < half; r++) lanes[r] += lanes[r + half];
            c[j + q] = (add ? c[j + q] : 0) + (total[q] + lanes[0]);
        }
    }
}

/* How long pieces of n are: as few as may be, as even as may be, none longer than `most`, a multiple of `group`. */
static inline int64_t even_(int64_t n, int64_t most, int64_t group)
{
    const int64_t pieces = (n + most - 1) / most;
    return pieces > 0 ? ((n + pieces - 1) / pieces + group - 1) / group * group : group;
}

ONCE_ void gemm(int ta, int tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,
                real *c, int64_t ldc)
{
    const int add = ta & ADDED, turned = ta & TURNED;
    const matrix_ left = turned ? (matrix_){a, 1, lda} : (matrix_){a, lda, 1};
    if (tb == PACKED) {
        const int64_t strip = LANE_ * (m <= 2 ? WIDE_ : COLUMNS_), step = turned ? DEPTH_ : k;
        for (int64_t j = 0; j < n; j += strip)
            for (int64_t p = 0; p == 0 || p < k; p += step)
                rows_(m, least_(n - j, strip), least_(k - p, step), part_(left, 0, p),
                      (matrix_){aligned_(b) + j * k + p * LANE_, LANE_, k * LANE_}, c + j, ldc, add || p > 0);
        return;
    }
    if (n == 1 && ldc == 1 && m > 1) {                           /* a column is the row that the transposed product gives */
        gemm((tb ? PLAIN : TURNED) | add, turned ? PLAIN : TURNED, 1, m, k, b, ldb, a, lda, c, m);
        return;
    }
    if (m == 1 && tb && (!turned || lda == 1)) {
        dots_(n, k, a, b, ldb, c, add);
        return;
    }
    const matrix_ right = tb ? (matrix_){b, 1, ldb} : (matrix_){b, ldb, 1};
    const int64_t first = tb || m > FEW_ ? 0 : n / LANE_ * LANE_;       /* columns for which few rows read b where it is */
    real room[DEPTH_ * STRIP_ + LANE_], *const panel = aligned_(room);
    const int64_t deep = even_(k, DEPTH_, 1), strip = even_(n - first, STRIP_, LANE_);
    for (int64_t j = 0, columns; j < n; j += columns) {
        columns = j < first ? first : least_(n - j, strip);
        for (int64_t p = 0; p == 0 || p < k; p += deep) {
            const int64_t depth = least_(k - p, deep);
            matrix_ from = {right.at + p * ldb, ldb, LANE_};
            if (j >= first) {
                panels_(LANE_, columns, depth, part_(right, p, j), panel);
                from = (matrix_){panel, LANE_, depth * LANE_};
            }
            rows_(m, columns, depth, part_(left, 0, p), from, c + j, ldc, add || p > 0);
        }
    }
}

/* `count` columns of a product, from `first` on; of a panel of b that they begin inside, all columns are computed. */
ONCE_ void columns_(int64_t first, int64_t count, int ta, int tb, int64_t m, int64_t k, const real *a, int64_t lda,
                    const real *b, int64_t ldb, real *c, int64_t ldc)
{
    const int64_t before = tb == PACKED ? first % LANE_ : 0, some = before ? least_(count, LANE_ - before) : 0;
    real whole[GROUP_ * LANE_];
    for (int64_t i = 0; some && i < m; i += GROUP_) {
        const int64_t rows = least_(m - i, GROUP_);
        gemm(ta & TURNED, PACKED, rows, LANE_, k, a + i * (ta & TURNED ? 1 : lda), lda, b + (first - before) * k, k,
             whole, LANE_);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < some; j++) {
                real *const out = c + (i + r) * ldc + first + j;
                *out = (ta & ADDED ? *out : 0) + whole[r * LANE_ + before + j];
            }
    }
    first += some, count -= some;
    if (count > 0) gemm(ta, tb, m, count, k, a, lda, b + first * (tb == PLAIN ? 1 : ldb), ldb, c + first, ldc);
}
