/* Numbers are float; indices are int, for arrays of fewer than 2^31 elements. */
typedef float real;
#ifdef __CUDACC_RTC__                                            /* which brings no headers */
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned char uint8_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#else
#include <cmath>
#include <cstdint>
#endif

static __device__ inline real exp_(real x) { return expf(x); }
static __device__ inline real log_(real x) { return logf(x); }
static __device__ inline real log1p_(real x) { return log1pf(x); }
static __device__ inline real expm1_(real x) { return expm1f(x); }
static __device__ inline real tanh_(real x) { return tanhf(x); }
static __device__ inline real sqrt_(real x) { return sqrtf(x); }
static __device__ inline real abs_(real x) { return fabsf(x); }
static __device__ inline real floor_(real x) { return floorf(x); }
static __device__ inline real round_(real x) { return rintf(x); }
static __device__ inline real sin_(real x) { return sinf(x); }
static __device__ inline real cos_(real x) { return cosf(x); }
static __device__ inline real arctan_(real x) { return atanf(x); }
static __device__ inline real erf_(real x) { return erff(x); }
static __device__ inline real pow_(real x, real y) { return powf(x, y); }
static __device__ inline real relu_(real x) { return x <= 0 ? 0 : x; }
static __device__ inline real sign_(real x) { return x > 0 ? 1 : x < 0 ? -1 : x != x ? x : 0; }
static __device__ inline real square_(real x) { return x * x; }
static __device__ inline real maximum_(real x, real y) { return x >= y || x != x ? x : y; }
static __device__ inline real minimum_(real x, real y) { return x <= y || x != x ? x : y; }
static __device__ inline real safe_div_(real x, real y) { return y == 0 ? 0 : x / y; }
static __device__ inline real sigmoid_(real x) {
    const real e = exp_(-abs_(x)), y = 1 / (1 + e);
    return x < 0 ? e * y : y;
}
static __device__ inline real softplus_(real x) { return (x < 0 ? 0 : x) + log1p_(exp_(-abs_(x))); }
static __device__ inline real logaddexp_(real x, real y) {
    const real gap = x == y ? 0 : abs_(x - y);                   /* equal infinities have no difference */
    return maximum_(x, y) + log1p_(exp_(-gap));
}
static __device__ inline real log1mexp_(real x) { return x > -0.6931471805599453f ? log_(-expm1_(x)) : log1p_(-exp_(x)); }
static __device__ inline real expmoment_(int n, real x) {
    const double size = fabs((double)x);
    double series = 0, term = 1;
    if (size < n + 1) {
        for (int k = 0; k < 20 + 6 * n; k++) { series += term / (n + k + 1); term *= (double)x / (k + 1); }
        return (real)series;
    }
    const double decay = exp(-size), top = x > 0 ? 1 : decay, half = x > 0 ? exp((double)x / 2) : 1;
    double value = (1 - decay) / size;
    for (int k = 1; k <= n; k++) value = (top - k * value) / (double)x;
    return (real)(half * value * half);
}

/* What the threads of a row have, joined: every thread gets the same bits, whichever comes first. */
struct Sum { static __device__ inline real join(real x, real y) { return x + y; } };
struct Prod { static __device__ inline real join(real x, real y) { return x * y; } };
struct Max { static __device__ inline real join(real x, real y) { return maximum_(x, y); } };
struct Min { static __device__ inline real join(real x, real y) { return minimum_(x, y); } };
template <class How> static __device__ inline real by_warp(real x)
{
    for (int far = 16; far; far /= 2) x = How::join(x, __shfl_xor_sync(0xffffffffu, x, far));
    return x;
}
template <class How> static __device__ inline real by_block(real x, real *parts)    /* parts: one of each warp */
{
    x = by_warp<How>(x);
    __syncthreads();                                             /* the last row's parts have been read */
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
    for (int k = 1; k < (int)blockDim.x / 32; k++) x = How::join(x, parts[k]);
    return x;
}
template <class How> static __device__ inline real by_column(real x, real (*sums)[33])    /* for threads of row 0 */
{
    __syncthreads();                                             /* the last column's numbers have been read */
    sums[threadIdx.y][threadIdx.x] = x;
    __syncthreads();
    for (int k = 1; threadIdx.y == 0 && k < 32; k++) x = How::join(x, sums[k][threadIdx.x]);
    return x;
}
/* What several blocks have, each its part in `left`, joined in their order by the one that comes last. */
static __device__ inline bool last_block(unsigned *arrived, unsigned blocks)
{
    __shared__ int last;
    __threadfence();                                             /* what this block has left can be seen */
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        last = atomicAdd(arrived, 1u) == blocks - 1;
        if (last) atomicExch(arrived, 0u);                       /* for the next kernel */
    }
    __syncthreads();
    __threadfence();                                             /* and so can what all others have */
    return last;
}
template <class How> static __device__ inline real all_blocks(real x, const real *left, real *parts)       /* x: of none */
{
    for (int k = threadIdx.x; k < (int)gridDim.x; k += blockDim.x) x = How::join(x, left[k]);
    return by_block<How>(x, parts);
}
static __device__ inline int part_(int sum, int row)
{
    return ((sum * gridDim.y + row) * gridDim.x + blockIdx.x) * 32 + threadIdx.x;
}
static __device__ inline void leave(real *left, int sum, real x)
{
    if (threadIdx.y == 0) left[part_(sum, blockIdx.y)] = x;
}
template <class How> static __device__ inline real all_rows(real x, const real *left, int sum, real (*sums)[33])
{
    for (int k = threadIdx.y; k < (int)gridDim.y; k += 32) x = How::join(x, left[part_(sum, k)]);
    return by_column<How>(x, sums);
}
static __device__ inline int first_of_warp(real best, int place)        /* where the largest is; the first of equals */
{
    for (int far = 16; far; far /= 2) {
        const real other = __shfl_xor_sync(0xffffffffu, best, far);
        const int there = __shfl_xor_sync(0xffffffffu, place, far);
        if (other > best || (other == best && there < place)) { best = other; place = there; }
    }
    return place;
}

/* Philox 4x64-10 (Salmon et al. 2011), NumPy's stream: key (seed, key), counter (block + 1, 0, step, 0). */
struct words { uint64_t word[4]; };
static __device__ inline uint64_t high_(uint64_t a, uint64_t b)
{
    const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    const uint64_t mid = a1 * b0 + (a0 * b0 >> 32), low = a0 * b1 + (mid & 0xffffffff);
    return a1 * b1 + (mid >> 32) + (low >> 32);
}
static __device__ inline words philox_(uint64_t seed, uint64_t key, uint64_t block, uint64_t step)
{
    uint64_t c0 = block + 1, c1 = 0, c2 = step, c3 = 0;
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = 0xD2E7470EE14C6C93u * c0, h0 = high_(0xD2E7470EE14C6C93u, c0);
        const uint64_t p1 = 0xCA5A826395121157u * c2, h1 = high_(0xCA5A826395121157u, c2);
        c0 = h1 ^ c1 ^ seed;
        c1 = p1;
        c2 = h0 ^ c3 ^ key;
        c3 = p0;
        seed += 0x9E3779B97F4A7C15u;
        key += 0xBB67AE8584CAA73Bu;
    }
    return {{c0, c1, c2, c3}};
}
static __device__ inline double unit_(uint64_t word) { return (double)(word >> 11) * (1.0 / 9007199254740992.0); }
/* Elements first, ..., first + n - 1 of the stream: element k is word k % 4 of block k / 4, each thread does a block. */
static __device__ inline void uniform_(uint64_t seed, uint64_t step, uint64_t key, int64_t first, int n, real *out)
{
    const int64_t block = first / 4 + blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * block >= first + n) return;
    const words w = philox_(seed, key, (uint64_t)block, step);
    for (int k = 0; k < 4; k++) {
        const int64_t at = 4 * block + k - first;
        if (at >= 0 && at < n) out[at] = (real)(w.word[k] >> 40) * (1.0f / 16777216.0f);
    }
}
static __device__ inline void normal_(uint64_t seed, uint64_t step, uint64_t key, int64_t first, int n, real *out)
{   /* Box-Muller */
    const int64_t block = first / 4 + blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * block >= first + n) return;
    const words w = philox_(seed, key, (uint64_t)block, step);
    for (int k = 0; k < 4; k += 2) {
        const double radius = sqrt(-2 * log1p(-unit_(w.word[k]))), angle = 6.283185307179586 * unit_(w.word[k + 1]);
        const int64_t at = 4 * block + k - first;
        if (at >= 0 && at < n) out[at] = (real)(radius * cos(angle));
        if (at + 1 >= 0 && at + 1 < n) out[at + 1] = (real)(radius * sin(angle));
    }
}
/* Element k of the stream alone. */
static __device__ inline real uniform_at_(uint64_t seed, uint64_t step, uint64_t key, int64_t k)
{
    const words w = philox_(seed, key, (uint64_t)(k / 4), step);
    const uint64_t word = k % 4 == 0 ? w.word[0] : k % 4 == 1 ? w.word[1] : k % 4 == 2 ? w.word[2] : w.word[3];
    return (real)(word >> 40) * (1.0f / 16777216.0f);
}
static __device__ inline real normal_at_(uint64_t seed, uint64_t step, uint64_t key, int64_t k)
{
    const words w = philox_(seed, key, (uint64_t)(k / 4), step);
    const double first = unit_(k % 4 < 2 ? w.word[0] : w.word[2]), second = unit_(k % 4 < 2 ? w.word[1] : w.word[3]);
    const double radius = sqrt(-2 * log1p(-first)), angle = 6.283185307179586 * second;
    return (real)(radius * (k % 2 == 0 ? cos(angle) : sin(angle)));
}
