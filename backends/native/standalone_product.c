/* Matrix products in plain C, or with -DCHAINRULE_CBLAS by a BLAS: c = op(a) @ op(b), row by row in memory; TURNED: transposed. */
#ifdef CHAINRULE_CBLAS
#include <cblas.h>
#ifdef DOUBLE
#define GEMM_ cblas_dgemm
#else
#define GEMM_ cblas_sgemm
#endif
enum { PLAIN = CblasNoTrans, TURNED = CblasTrans };
static void gemm(int ta, int tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,
                 real *c, int64_t ldc)
{
    GEMM_(CblasRowMajor, (enum CBLAS_TRANSPOSE)ta, (enum CBLAS_TRANSPOSE)tb, (int)m, (int)n, (int)k, 1, a, (int)lda,
          b, (int)ldb, 0, c, (int)ldc);
}
#else
enum { PLAIN, TURNED, DEPTH_ = 64, WIDTH_ = 256, LANES_ = 16 };

/* Two rows of c += a @ b, one row of it; four rows of b at a time. Elements of a lie `down` and `along` apart. */
static void two_rows_(int64_t n, int64_t k, const real *a, int64_t down, int64_t along, const real *b, int64_t ldb,
                      real *restrict c, real *restrict d)
{
    int64_t p = 0;
    for (; p + 4 <= k; p += 4, a += 4 * along, b += 4 * ldb) {
        const real c0 = a[0], c1 = a[along], c2 = a[2 * along], c3 = a[3 * along];
        const real d0 = a[down], d1 = a[down + along], d2 = a[down + 2 * along], d3 = a[down + 3 * along];
        for (int64_t j = 0; j < n; j++) {
            const real b0 = b[j], b1 = b[ldb + j], b2 = b[2 * ldb + j], b3 = b[3 * ldb + j];
            c[j] += c0 * b0 + c1 * b1 + c2 * b2 + c3 * b3;
            d[j] += d0 * b0 + d1 * b1 + d2 * b2 + d3 * b3;
        }
    }
    for (; p < k; p++, a += along, b += ldb)
        for (int64_t j = 0; j < n; j++) {
            c[j] += a[0] * b[j];
            d[j] += a[down] * b[j];
        }
}
static void one_row_(int64_t n, int64_t k, const real *a, int64_t along, const real *b, int64_t ldb, real *restrict c)
{
    int64_t p = 0;
    for (; p + 4 <= k; p += 4, a += 4 * along, b += 4 * ldb) {
        const real c0 = a[0], c1 = a[along], c2 = a[2 * along], c3 = a[3 * along];
        for (int64_t j = 0; j < n; j++)
            c[j] += c0 * b[j] + c1 * b[ldb + j] + c2 * b[2 * ldb + j] + c3 * b[3 * ldb + j];
    }
    for (; p < k; p++, a += along, b += ldb)
        for (int64_t j = 0; j < n; j++)
            c[j] += a[0] * b[j];
}
static real dot_(int64_t n, const real *a, int64_t along, const real *b)
{
    real sum[LANES_] = {0}, total = 0;
    int64_t p = 0;
    for (; p + LANES_ <= n; p += LANES_)
        for (int64_t j = 0; j < LANES_; j++)
            sum[j] += a[(p + j) * along] * b[p + j];
    for (; p < n; p++) total += a[p * along] * b[p];
    for (int64_t j = 0; j < LANES_; j++) total += sum[j];
    return total;
}

/* Blocks of op(b), DEPTH_ by WIDTH_, which stay in the cache while all rows of c pass; one that stands transposed is copied. */
static void gemm(int ta, int tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,
                 real *c, int64_t ldc)
{
    static real turned[DEPTH_][WIDTH_];
    const int64_t down = ta == TURNED ? 1 : lda, along = ta == TURNED ? lda : 1;
    const bool dots = tb == TURNED && m <= 2;                        /* not worth a copy */
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] = dots ? dot_(k, a + i * down, along, b + j * ldb) : 0;
    for (int64_t p = 0; p < k && !dots; p += DEPTH_)
        for (int64_t j = 0; j < n; j += WIDTH_) {
            const int64_t depth = k - p < DEPTH_ ? k - p : DEPTH_, width = n - j < WIDTH_ ? n - j : WIDTH_;
            for (int64_t q = 0; tb == TURNED && q < width; q++)
                for (int64_t r = 0; r < depth; r++)
                    turned[r][q] = b[(j + q) * ldb + p + r];
            const real *block = tb == TURNED ? turned[0] : b + p * ldb + j, *row = a + p * along;
            const int64_t next = tb == TURNED ? WIDTH_ : ldb;
            int64_t i = 0;
            for (; i + 2 <= m; i += 2)
                two_rows_(width, depth, row + i * down, down, along, block, next, c + i * ldc + j, c + (i + 1) * ldc + j);
            if (i < m) one_row_(width, depth, row + i * down, along, block, next, c + i * ldc + j);
        }
}
#endif
