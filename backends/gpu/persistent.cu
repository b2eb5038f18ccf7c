/* Whole loops over time in one launch: blocks of 256 threads that wait for each other, weights in shared memory. */
struct __align__(16) four { real x[4]; };

/* All blocks of a group: what they wrote before it, each of them reads afterwards. The highest bit of `arrived` turns with the
   last one that comes, so that it never has to be set to zero again. */
static __device__ inline void meet_(unsigned *arrived, int members)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        const unsigned step = blockIdx.x % members == 0 ? 0x80000000u - (unsigned)(members - 1) : 1u;
        const unsigned before = atomicAdd(arrived, step);
        while (((*(volatile unsigned *)arrived ^ before) & 0x80000000u) == 0) __nanosleep(20);
        __threadfence();
    }
    __syncthreads();
}

/* A matrix as a kernel walks through it: element (b, k) stands at start[b*far + k*near]. */
struct matrix_ { const real *start; int far, near; };
/* Where a block's share of a product goes: unit u of part p of example b, at start[b*far + (p*jump + u)*near]. */
struct share_ { real *start; int far, near, jump, share, units; };

/* The elements of 16 columns of 32 rows that a thread of a warp brings, each as far as there are so many. */
static __device__ inline void bring_(real *some, matrix_ x, int rows, int from, int to)
{
    const int lane = threadIdx.x % 32, k = from + lane % 16;
    for (int n = 0; n < 16; n++) {
        const int b = 2*n + lane / 16;
        some[n] = b < rows && k < to ? x.start[b*x.far + k*x.near] : 0;
    }
}

/* Adds up 16 columns: four rows of weights times L examples by each thread; `held`: 16 rows of 36, the examples side by side. */
template <int L> static __device__ inline void add_up_(real (*sum)[L], const real *weights, int padded, int from, int depth, const real *held)
{
    #pragma unroll 4
    for (int k = 0; k < 16; k++) {
        const four w = *(const four *)&weights[min(from + k, depth - 1)*padded];
        real x[L];
        for (int j = 0; j < L; j++) x[j] = held[36*k + j];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < L; j++) sum[i][j] += w.x[i] * x[j];
    }
}

/* One tile, 4 L rows of weights by 32 examples, columns from..to, by a warp: L lanes down, 32 / L across. */
template <int L> static __device__ inline void tile_(real (*sum)[L], const real *weights, int padded, int depth, matrix_ x, int rows, int from,
                                                     int to, real *held)
{
    const int lane = threadIdx.x % 32;
    real some[16];
    bring_(some, x, rows, from, to);
    for (int k = from; k < to; k += 16) {
        for (int n = 0; n < 16; n++) held[36*(lane % 16) + 2*n + lane / 16] = some[n];
        __syncwarp();
        bring_(some, x, rows, k + 16, to);                       /* while the others are added up */
        add_up_<L>(sum, weights, padded, k, depth, &held[lane / L * L]);
        __syncwarp();
    }
}

/* Element n of a block's share of example b. */
static __device__ inline void put_(share_ out, int n, int b, real value)
{
    const int u = n % out.share;
    if (u < out.units) out.start[b*out.far + (n / out.share*out.jump + u)*out.near] = value;
}

/* out = x times the block's rows of weights, which stand column by column in shared memory; `work`: 8 warps by 1024 numbers.
   Where there are fewer tiles than warps, several warps share a tile's columns, and their sums are joined in one order. */
template <int L> static __device__ inline void product_(const real *weights, int rows, int depth, matrix_ x, int examples, share_ out, real *work)
{
    const int padded = (rows + 3) / 4*4, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int down = (rows + 4*L - 1) / (4*L), tiles = down*((examples + 31) / 32), ways = tiles >= 8 ? 1 : 8 / max(tiles, 1);
    const int together = 8 / ways, span = (depth + 16*ways - 1) / (16*ways)*16;
    for (int first = 0; first < tiles; first += together) {
        const int tile = first + warp / ways, way = warp % ways, top = tile % down*4*L, left = tile / down*32;
        real sum[4][L];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < L; j++) sum[i][j] = 0;
        if (tile < tiles && warp < together*ways) {
            const matrix_ some = {x.start + left*x.far, x.far, x.near};
            tile_<L>(sum, weights + min(top + lane % L*4, padded - 4), padded, depth, some, examples - left, min(way*span, depth),
                     min(way*span + span, depth), &work[1024*warp]);
        }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < L; j++) work[1024*warp + 32*(lane % L*4 + i) + lane / L*L + j] = sum[i][j];
        __syncthreads();
        for (int at = threadIdx.x; at < together*128*L; at += 256) {
            const int which = at / (128*L), n = at / 32 % (4*L), b = at % 32, here = first + which;
            const int row = here % down*4*L + n, example = here / down*32 + b;
            real total = work[1024*which*ways + 32*n + b];
            for (int k = 1; k < ways; k++) total += work[1024*(which*ways + k) + 32*n + b];
            if (here < tiles && row < rows && example < examples) put_(out, row, example, total);
        }
        __syncthreads();
    }
}

/* The product in the form that fits the number of rows. */
static __device__ inline void multiply_(const real *weights, int rows, int depth, matrix_ x, int examples, share_ out, real *work)
{
    if (rows <= 8) product_<2>(weights, rows, depth, x, examples, out, work);
    else if (rows <= 16) product_<4>(weights, rows, depth, x, examples, out, work);
    else product_<8>(weights, rows, depth, x, examples, out, work);
}
