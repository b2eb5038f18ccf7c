#ifdef DOUBLE
#define LIBRARY(name) name
#else
#define LIBRARY(name) name##f
#endif

/* SIMD before a loop: its steps are independent. SIMD_SUM(x) and its like: but for what they add up in x, in several lanes. */
#if defined(__clang__)
#define SIMD _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define SIMD _Pragma("GCC ivdep")
#else
#define SIMD
#endif
#if defined(__GNUC__)
#define APART __attribute__((noinline, unused))                  /* compiled once: a part of a long function, what many call */
#else
#define APART
#endif
#if defined(LANES) || defined(_OPENMP)
#define QUOTED(x) _Pragma(#x)
#define SIMD_SUM(...) QUOTED(omp simd reduction(+ : __VA_ARGS__))
#define SIMD_PROD(...) QUOTED(omp simd reduction(* : __VA_ARGS__))
#else
#define SIMD_SUM(...)
#define SIMD_PROD(...)
#endif

static inline real sqrt_(real x) { return LIBRARY(sqrt)(x); }
static inline real floor_(real x) { return LIBRARY(floor)(x); }
static inline real round_(real x) { return LIBRARY(rint)(x); }
static inline real sin_(real x) { return LIBRARY(sin)(x); }
static inline real cos_(real x) { return LIBRARY(cos)(x); }
static inline real arctan_(real x) { return LIBRARY(atan)(x); }
static inline real erf_(real x) { return LIBRARY(erf)(x); }
static inline real pow_(real x, real y) { return LIBRARY(pow)(x, y); }
#undef LIBRARY
static inline real relu_(real x) { return x <= 0 ? 0 : x; }
static inline real sign_(real x) { return x > 0 ? 1 : x < 0 ? -1 : x != x ? x : 0; }
static inline real square_(real x) { return x * x; }
static inline real maximum_(real x, real y) { return ((x >= y) | (x != x)) ? x : y; }
static inline real minimum_(real x, real y) { return ((x <= y) | (x != x)) ? x : y; }
static inline real safe_div_(real x, real y) { return y == 0 ? 0 : x / y; }
static inline real logaddexp_(real x, real y) {
    real gap = x == y ? 0 : abs_(x - y);                         /* equal infinities have no difference */
    return maximum_(x, y) + log1p_(exp_(-gap));
}
static inline real log1mexp_(real x) { return x > (real)-0.6931471805599453 ? log_(-expm1_(x)) : log1p_(-exp_(x)); }
static inline real expmoment_(int n, real x) {
    double size = fabs((double)x), series = 0, term = 1;
    if (size < n + 1) {
        for (int k = 0; k < 20 + 6 * n; k++) { series += term / (n + k + 1); term *= (double)x / (k + 1); }
        return (real)series;
    }
    double decay = exp(-size), top = x > 0 ? 1 : decay, value = (1 - decay) / size, half = x > 0 ? exp((double)x / 2) : 1;
    for (int k = 1; k <= n; k++) value = (top - k * value) / (double)x;
    return (real)(half * value * half);
}
#if defined(LANES) || defined(_OPENMP)
#pragma omp declare reduction(largest : real : omp_out = maximum_(omp_out, omp_in)) initializer(omp_priv = -INFINITY)
#pragma omp declare reduction(least : real : omp_out = minimum_(omp_out, omp_in)) initializer(omp_priv = INFINITY)
#define SIMD_MAX(...) QUOTED(omp simd reduction(largest : __VA_ARGS__))
#define SIMD_MIN(...) QUOTED(omp simd reduction(least : __VA_ARGS__))
#else
#define SIMD_MAX(...)
#define SIMD_MIN(...)
#endif
