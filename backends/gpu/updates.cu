static __device__ inline void clip_(int n, real *g, real most) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        g[i] = g[i] < -most ? -most : g[i] > most ? most : g[i];
}
static __device__ inline void squares_(int n, const real *g, real *parts) {     /* one part of the sum a block */
    __shared__ real joined[32];
    real total = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) total += g[i] * g[i];
    total = by_block<Sum>(total, joined);
    if (threadIdx.x == 0) parts[blockIdx.x] = total;
}
static __device__ inline void scale_to_(int n, real *g, const real *parts, int count, real bound) {
    __shared__ real joined[32];
    real total = 0;
    for (int k = threadIdx.x; k < count; k += blockDim.x) total += parts[k];
    total = sqrt_(by_block<Sum>(total, joined));
    if (!(total > bound)) return;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) g[i] *= bound / total;
}
static __device__ inline void replace_(int n, real *w, const real *g) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) w[i] = g[i];
}
static __device__ inline void average_(int n, real *w, const real *g, real steps) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) w[i] += (g[i] - w[i]) / steps;
}
extern "C" __global__ void __launch_bounds__(1) advance(int64_t *step, const int64_t *noted)
{
    if (noted[0] >= 0) return;
    step[0] += 1;
}
extern "C" __global__ void __launch_bounds__(256) hand_on(real *w, int n, const real *next, const int64_t *noted)
{   /* the state of a chain */
    if (noted[0] >= 0) return;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) w[i] = next[i];
}
extern "C" __global__ void __launch_bounds__(256) decay_l2(real *w, int n, real by, const int64_t *noted)
{
    if (noted[0] >= 0) return;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) w[i] *= by;
}
extern "C" __global__ void __launch_bounds__(256) decay_l1(real *w, int n, real amount, const int64_t *noted)
{
    if (noted[0] >= 0) return;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        w[i] -= amount * (real)((w[i] > 0) - (w[i] < 0));
}
extern "C" __global__ void __launch_bounds__(256) limit_norms(real *w, int n, real bound, const int64_t *noted)
{   /* max-norm: a row a block */
    if (noted[0] >= 0) return;
    __shared__ real joined[32];
    real *row = w + blockIdx.x * n, total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += row[i] * row[i];
    total = sqrt_(by_block<Sum>(total, joined));
    if (!(total > bound)) return;
    for (int i = threadIdx.x; i < n; i += blockDim.x) row[i] *= bound / total;
}
extern "C" __global__ void __launch_bounds__(256) project_l1(real *w, int n, real bound, const int64_t *noted)
{   /* the nearest w with sum(|w|) <= bound (Michelot 1986): what stays above the threshold is counted until that is all */
    if (noted[0] >= 0) return;
    __shared__ real joined[32];
    real total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += abs_(w[i]);
    total = by_block<Sum>(total, joined);
    if (!(total > bound)) return;
    real threshold = (total - bound) / n;
    for (real last = INFINITY;;) {                              /* rounding may bring one back: without end, were that counted */
        real above = 0, count = 0;
        for (int i = threadIdx.x; i < n; i += blockDim.x)
            if (abs_(w[i]) > threshold) { above += abs_(w[i]); count += 1; }
        above = by_block<Sum>(above, joined);
        count = by_block<Sum>(count, joined);
        if (!(count < last)) break;
        last = count;
        threshold = (above - bound) / count;
    }
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const real size = abs_(w[i]) - threshold;
        w[i] = size > 0 ? (w[i] < 0 ? -size : size) : 0;
    }
}
extern "C" __global__ void __launch_bounds__(256) check_classes(int64_t *x, int n, int classes, int input, int64_t *noted)
{   /* what is no class is noted, the first one by its place, and becomes 0 */
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        if (x[i] < 0 || x[i] >= classes) {
            atomicMin((unsigned long long *)noted, (unsigned long long)input << 43 | (unsigned long long)i);
            x[i] = 0;
        }
}
extern "C" __global__ void __launch_bounds__(256)
check_units(const real *x, int rows, int width, int kind, int input, int64_t *noted)
{   /* kind: 0 means, 1 binary, 2 spin, 3 categorical, whose rows have a single 1 */
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows; i += gridDim.x * blockDim.x) {
        real total = 0;
        int wrong = -1;
        for (int k = width - 1; k >= 0; k--) {
            const real v = x[i * width + k];
            if (!(kind == 0 ? v >= 0 && v <= 1 : v == 1 || v == (kind == 2 ? -1 : 0))) wrong = k;
            total += v;
        }
        if (wrong < 0 && kind == 3 && total != 1) wrong = 0;
        if (wrong >= 0)
            atomicMin((unsigned long long *)noted, (unsigned long long)input << 43 | (unsigned long long)(i * width + wrong));
    }
}
extern "C" __global__ void __launch_bounds__(256) spoil(real *x, int n, const int64_t *noted)
{   /* a result of inputs that are wrong */
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && noted[0] >= 0) x[i] = NAN;
}
/* The next digit of the key of each of a thread's numbers; 256: there is no key. */
static __device__ inline void digits_(const int *keys, const int *order, int n, int shift, int *digits) {
    for (int k = threadIdx.x; k < 1024; k += blockDim.x) {
        const int at = blockIdx.x * 1024 + k;
        digits[k] = at < n ? (keys[shift ? order[at] : at] >> shift) & 255 : 256;
    }
    __syncthreads();
}
extern "C" __global__ void __launch_bounds__(256) count_digits(const int *keys, const int *order, int n, int shift, int *counts)
{   /* of 1024 keys, how many have each digit; a thread a digit */
    __shared__ int digits[1024];
    digits_(keys, order, n, shift, digits);
    int count = 0;
    for (int k = 0; k < 1024; k++) count += digits[k] == (int)threadIdx.x;
    counts[threadIdx.x * gridDim.x + blockIdx.x] = count;
}
extern "C" __global__ void __launch_bounds__(1024) add_up(int *counts, int n)
{   /* each count becomes the sum of those before it */
    __shared__ int sums[1024];
    const int share = (n + 1023) / 1024, from = min((int)threadIdx.x * share, n), to = min(from + share, n);
    int total = 0;
    for (int k = from; k < to; k++) total += counts[k];
    sums[threadIdx.x] = total;
    __syncthreads();
    for (int far = 1; far < 1024; far *= 2) {
        const int before = (int)threadIdx.x >= far ? sums[threadIdx.x - far] : 0;
        __syncthreads();
        sums[threadIdx.x] += before;
        __syncthreads();
    }
    total = threadIdx.x ? sums[threadIdx.x - 1] : 0;
    for (int k = from; k < to; k++) {
        const int count = counts[k];
        counts[k] = total;
        total += count;
    }
}
extern "C" __global__ void __launch_bounds__(256)
place_digits(const int *keys, const int *order, int *sorted, int n, int shift, const int *counts)
{   /* the thread of a digit gives its keys their places, in their order */
    __shared__ int digits[1024], places[1024];
    digits_(keys, order, n, shift, digits);
    int next = counts[threadIdx.x * gridDim.x + blockIdx.x];
    for (int k = 0; k < 1024; k++)
        if (digits[k] == (int)threadIdx.x) places[k] = next++;
    __syncthreads();
    for (int k = threadIdx.x; k < 1024; k += blockDim.x) {
        const int at = blockIdx.x * 1024 + k;
        if (at < n) sorted[places[k]] = shift ? order[at] : at;
    }
}
