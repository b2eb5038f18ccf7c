/* Elementary functions without branches, so that loops over them run in vector registers: at most 2 units in the last place,
   in float and (with DOUBLE defined) in double. NaN and infinities go through; what is too small for a normal number is rounded.

   exp: x = n log 2 + r, e^r = 1 + r + r^2 P(r). log: x = 2^k m, log m = f - (f^2/2 - s (f^2/2 + R(s^2))), s = f/(2 + f), f = m - 1.
   tanh: an odd polynomial near zero, 1 - 2/(e^2x + 1) beyond. P, R and the odd polynomial are Chebyshev interpolants.

   Whole numbers come from adding a large number and taking it away again, so every operation must round as it is written. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "compile without -Ofast, -ffast-math and what they stand for: exp and log would be wrong by up to 40 %, and NaN unseen"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16                /* 16: only half precision is computed in float */
#error "float and double must be computed as such: on x86 with -msse2 -mfpmath=sse; else exp and log would be wrong"
#endif
#ifdef DOUBLE
typedef double real;
typedef uint64_t word_;
enum { FRACTION_ = 52, BIAS_ = 1023, DOUBLINGS_ = 54 };
#define ROUND 6755399441055744.0                                 /* 1.5 * 2^52: what is added to it is rounded to an integer */
#define SMALLEST 2.2250738585072014e-308                         /* normal number */
#define LOW -746.0                                               /* e^x is zero below, infinite above */
#define HIGH 710.0
#define LOG2_E 1.4426950408889634
#define LOG_2 6.93147180369123816490e-01                         /* a product of an exponent with it is exact */
#define LOG_2_REST 1.90821492927058770002e-10
#define SQRT_HALF 0x3fe6a09e667f3bcdu
#define TINY 1.1102230246251565e-16                              /* half a unit in the last place of 1 */
#define EXP_P(r) (0.5000000000000001026 + r * (0.1666666666666666746 + r * (0.04166666666662399152 + r * (0.008333333333330051346 \
    + r * (0.001388888891728179331 + r * (0.0001984126986310596875 + r * (0.00002480152120021772765 \
    + r * (2.755726837868419287e-6 + r * (2.762013871973399557e-7 + r * 2.510042415700506679e-8)))))))))
#define LOG_R(z) (z * (0.6666666666666669907 + z * (0.3999999999989322176 + z * (0.285714286288109956 \
    + z * (0.2222221067423851525 + z * (0.1818292251351594163 + z * (0.1533061730674330489 + z * 0.1463003136412286047)))))))
#define TANH_Q(z) (z * (-0.3333333333333332256 + z * (0.1333333333332665774 + z * (-0.05396825396139557082 \
    + z * (0.02186948826055911462 + z * (-0.008863229830925708211 + z * (0.003592058977473449394 \
    + z * (-0.001455309297534602367 + z * (0.0005874372860092745694 + z * (-0.0002307761626947921379 \
    + z * (0.00007959955735209066339 - z * 0.00001724487449452004827)))))))))))
#else
typedef float real;
typedef uint32_t word_;
enum { FRACTION_ = 23, BIAS_ = 127, DOUBLINGS_ = 25 };
#define ROUND 12582912.0f
#define SMALLEST 1.17549435e-38f
#define LOW -104.0f
#define HIGH 89.0f
#define LOG2_E 1.44269504f
#define LOG_2 0.693359375f
#define LOG_2_REST -2.12194440e-4f
#define SQRT_HALF 0x3f3504f3u
#define TINY 5.96046448e-8f
#define EXP_P(r) (0.5f + r * (0.1666657685f + r * (0.04166655444f + r * (0.008363202972f + r * 0.001392621347f))))
#define LOG_R(z) (z * (0.666666856f + z * (0.3998855099f + z * 0.2959031736f)))
#define TANH_Q(z) (z * (-0.3333332894f + z * (0.1333276974f + z * (-0.05385090958f + z * (0.020997179f - z * 0.006096714166f)))))
#endif

static inline word_ bits_(real x) { word_ w; memcpy(&w, &x, sizeof w); return w; }
static inline real from_bits_(word_ w) { real x; memcpy(&x, &w, sizeof x); return x; }
static inline real power_of_two_(word_ n) { return from_bits_((n + BIAS_) << FRACTION_); }
static inline real abs_(real x) { return from_bits_(bits_(x) & ~(word_)0 >> 1); }

static inline real exp_(real x) {
    x = x < LOW ? LOW : x;
    x = x > HIGH ? HIGH : x;
    real t = x * LOG2_E + ROUND, n = t - ROUND, rest = n * LOG_2_REST, first = x - n * LOG_2, r = first - rest;
    word_ k = bits_(t) - bits_(ROUND) + 2 * BIAS_, half = k >> 1;          /* in two factors: one alone may be no normal number */
    return (1 + (first + (r * r * EXP_P(r) - rest))) * power_of_two_(half - BIAS_) * power_of_two_(k - half - BIAS_);
}
static inline real expm1_(real x) {
    real y = x < -40 ? -40 : x;
    y = y > HIGH ? HIGH : y;
    real t = y * LOG2_E + ROUND, n = t - ROUND, rest = n * LOG_2_REST, first = y - n * LOG_2, r = first - rest;
    real half = power_of_two_(bits_(t) - bits_(ROUND) - 1);
    y = 2 * ((first + (r * r * EXP_P(r) - rest)) * half + (half - (real)0.5));
    return abs_(x) < TINY ? x : y;
}
static inline real log_near_(real f, real k) {                   /* log(1 + f) + k log 2 */
    real s = f / (2 + f), z = s * s, half = f * f / 2;
    return k * LOG_2 - ((half - (s * (half + LOG_R(z)) + k * LOG_2_REST)) - f);
}
static inline real count_(word_ n) { return from_bits_(bits_(ROUND) + n) - ROUND; }       /* n as a real number; it may be negative */
static inline real log_(real x) {
    bool small = x < SMALLEST;
    word_ w = bits_(small ? x * ((word_)1 << DOUBLINGS_) : x) - SQRT_HALF + ((word_)BIAS_ << FRACTION_), k = (w >> FRACTION_) - BIAS_;
    real m = from_bits_((w & (((word_)1 << FRACTION_) - 1)) + SQRT_HALF);
    real y = log_near_(m - 1, count_(k) - (small ? DOUBLINGS_ : 0));
    y = x > 0 ? y : x == 0 ? -INFINITY : NAN;
    return x < INFINITY ? y : x;
}
static inline real log1p_(real x) {
    real u = 1 + x, lost = x >= 1 ? 1 - (u - x) : x - (u - 1);       /* what rounding took from u */
    word_ w = bits_(u) - SQRT_HALF + ((word_)BIAS_ << FRACTION_), k = (w >> FRACTION_) - BIAS_;
    real m = from_bits_((w & (((word_)1 << FRACTION_) - 1)) + SQRT_HALF), n = count_(k);
    real y = log_near_(m - 1, n) + lost * (1 / u);            /* with u = 1 + e^-|x|, the sigmoid's quotient */
    y = u > 0 ? y : u == 0 ? -INFINITY : NAN;
    y = x < INFINITY ? y : x;                                    /* one condition at a time: gcc makes no branch of it */
    return x == 0 ? x : y;
}
static inline real tanh_(real x) {
    real size = abs_(x), z = x * x, near = x + x * TANH_Q(z), far = 1 - 2 / (exp_(2 * size) + 1);
    return size < (real)0.625 ? near : x < 0 ? -far : far;
}
static inline real sigmoid_(real x) {
    real e = exp_(-abs_(x)), y = 1 / (1 + e);
    return x < 0 ? e - e * (e * y) : y;
}
static inline real softplus_(real x) { return (x < 0 ? 0 : x) + log1p_(exp_(-abs_(x))); }
#undef ROUND
#undef SMALLEST
#undef LOW
#undef HIGH
#undef LOG2_E
#undef LOG_2
#undef LOG_2_REST
#undef SQRT_HALF
#undef TINY
#undef EXP_P
#undef LOG_R
#undef TANH_Q
