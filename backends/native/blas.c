/* Matrix products through the BLAS that the caller names: c = op(a) @ op(b), row by row in memory; TURNED: transposed. */
enum { PLAIN = 111, TURNED = 112 };
typedef void gemm_function(int order, int ta, int tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
                           const real *b, int64_t ldb, real beta, real *c, int64_t ldc);
static gemm_function *gemm_;
#define gemm(ta, tb, m, n, k, a, lda, b, ldb, c, ldc) gemm_(101, ta, tb, m, n, k, 1, a, lda, b, ldb, 0, c, ldc)
void use_gemm(gemm_function *f) { gemm_ = f; }
