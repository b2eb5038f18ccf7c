/* Matrix products c = op(a) @ op(b), row by row in memory; TURNED: transposed. ADDED: to what c holds, else c is not read.

   A tile of c stays in registers while k is walked through: ROWS_ rows of up to COLUMNS_ vectors (Goto and van de Geijn 2008).
   Of b it reads whole vectors, from panels [n / LANE_][k][LANE_], which gemm packs on the stack, strip by strip. A matrix that
   many products take is packed once, by pack(), and is then PACKED, with ldb = k; from a column that is a multiple of 16 on, it
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
enum { LANE_ = VECTOR_ / sizeof(real), COLUMNS_ = 3, WIDE_ = 8, DEPTH_ = 256, GROUP_ = 32 };
enum { STRIP_ = 1024 / sizeof(real), FEW_ = 128 / sizeof(real) };

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

/* A block of rows of c, tile by tile; few rows take more columns at once, so that enough sums are under way. */
INLINE_ void row_(const int rows, int64_t n, int64_t k, matrix_ a, matrix_ b, real *c, int64_t ldc, int add)
{
    const int wide = rows <= 2 ? WIDE_ : COLUMNS_, last = (int)((n - 1) % LANE_) + 1;
    int64_t left = (n + LANE_ - 1) / LANE_;
    for (int step; left > 0; left -= step, b.at += step * b.right, c += step * LANE_) {
        step = left >= wide ? wide : left >= COLUMNS_ ? COLUMNS_ : (int)left;
        const int lanes = step == left ? last : LANE_;
        if (step == wide) tile_(rows, wide, k, a, b, c, ldc, lanes, add);
        else if (step == COLUMNS_) tile_(rows, COLUMNS_, k, a, b, c, ldc, lanes, add);
        else if (step == 2) tile_(rows, 2, k, a, b, c, ldc, lanes, add);
        else tile_(rows, 1, k, a, b, c, ldc, lanes, add);
    }
}

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
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = 0; j < whole; j += width)
            memcpy(to + j * k + p * width, from.at + p * from.down + j, width * sizeof(real));
    for (int64_t j = whole; j < n; j += width)
        for (int64_t p = turned_(width, least_(n - j, width), k, from.at + j * from.right, from, to + j * k); p < k; p++)
            for (int q = 0; q < width; q++)
                to[j * k + p * width + q] = q < n - j ? from.at[p * from.down + (j + q) * from.right] : 0;
}

/* Rows of c. Those of a that stand as columns in memory are copied next to each other first. */
ONCE_ void rows_(int64_t m, int64_t n, int64_t k, matrix_ a, matrix_ b, real *c, int64_t ldc, int add)
{
    real near[GROUP_ * DEPTH_];
    const bool copied = a.right != 1 && m > 1 && k <= DEPTH_;
    for (int64_t i = 0, step; i < m; i += step) {
        const int64_t left = m - i;
        matrix_ from = part_(a, i, 0);
        if (copied && i % GROUP_ == 0) panels_(ROWS_, least_(left, GROUP_), k, (matrix_){from.at, a.right, a.down}, near);
        if (copied) from = (matrix_){near + i % GROUP_ / ROWS_ * ROWS_ * k + i % ROWS_, 1, ROWS_};
        step = left >= ROWS_ ? ROWS_ : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        if (step == ROWS_) row_(ROWS_, n, k, from, b, c + i * ldc, ldc, add);
        else if (step == 4) row_(4, n, k, from, b, c + i * ldc, ldc, add);
        else if (step == 2) row_(2, n, k, from, b, c + i * ldc, ldc, add);
        else row_(1, n, k, from, b, c + i * ldc, ldc, add);
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
    for (int64_t j = 0, columns; j < n; j += columns) {
        columns = j < first ? first : least_(n - j, STRIP_);
        for (int64_t p = 0; p == 0 || p < k; p += DEPTH_) {
            const int64_t depth = least_(k - p, DEPTH_);
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
