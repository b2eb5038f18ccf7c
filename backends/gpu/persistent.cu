/* Whole loops over time in one launch: blocks of 256 threads that wait for each other, weights in shared memory. */
struct __align__(16) four { real x[4]; };

/* All blocks of a group: what they wrote before it, each of them reads afterwards. The highest bit of `arrived` turns with the
   last one that comes, and the others are zero again: the next barrier, of this launch or of another, needs no reset. */
static __device__ inline void meet_(unsigned *arrived, int members)
{
    __syncthreads();
    if (threadIdx.x == 0 && members > 1) {
        __threadfence();                                         /* the block's stores, before it counts as there */
        const unsigned step = blockIdx.x % members == 0 ? 0x80000000u - (unsigned)(members - 1) : 1u;
        const unsigned before = atomicAdd(arrived, step);
        while (((*(volatile unsigned *)arrived ^ before) & 0x80000000u) == 0) __nanosleep(20);
        __threadfence();                                         /* no load before the others are there, nor from a stale cache */
    }
    __syncthreads();
}

/* A matrix as a kernel walks through it: element (b, k) stands at start[b*far + k*near]. */
struct matrix_ { const real *start; int far, near; };
/* Where a block's share of a product goes: unit u of part p of example b, at start[b*far + (p*jump + u)*near]. */
struct share_ { real *start; int far, near, jump, share, units; };

/* Element n of the 16 that a thread of a warp brings, of 16 columns of 32 rows: which column, which row. */
static __device__ inline int column_of_(int n) { return threadIdx.x % 8 + n / 8 * 8; }
static __device__ inline int example_of_(int n) { return threadIdx.x % 32 / 8 + n % 8 * 4; }

/* Columns from, ..., from + 15 of 32 rows, as far as there are so many. */
static __device__ inline void bring_(real *some, matrix_ x, int rows, int from, int to)
{
    for (int n = 0; n < 16; n++) {
        const int b = example_of_(n), k = from + column_of_(n);
        some[n] = b < rows && k < to ? x.start[b*x.far + k*x.near] : 0;
    }
}

/* Adds up 16 columns: each thread four rows of weights times eight examples, threads of a warp in slices of 4 D, each slice its own
   columns; `held`: 16 rows of 36, the examples side by side. */
template <int D> static __device__ inline void add_up_(real (*sum)[8], const real *weights, int padded, int from, int depth,
                                                       const real *held)
{
    #pragma unroll 4
    for (int k = threadIdx.x % 32 / (4*D); k < 16; k += 8 / D) {
        const four w = *(const four *)&weights[min(from + k, depth - 1)*padded];
        const four x[2] = {*(const four *)&held[36*k], *(const four *)&held[36*k + 4]};
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 8; j++) sum[i][j] += w.x[i] * x[j / 4].x[j % 4];
    }
}

/* One tile, 4 D rows of weights by 32 examples, columns from..to, by a warp: D lanes down, 4 across, 8 / D slices. */
template <int D> static __device__ inline void tile_(real (*sum)[8], const real *weights, int padded, int depth, matrix_ x, int rows, int from,
                                                     int to, real *held)
{
    real some[16];
    bring_(some, x, rows, from, to);
    for (int k = from; k < to; k += 16) {
        for (int n = 0; n < 16; n++) held[36*column_of_(n) + example_of_(n)] = some[n];
        __syncwarp();
        bring_(some, x, rows, k + 16, to);                       /* while the others are added up */
        add_up_<D>(sum, weights, padded, k, depth, &held[threadIdx.x / D % 4*8]);
        __syncwarp();
    }
}

/* Element n of a block's share of example b. */
static __device__ inline void put_(share_ out, int n, int b, real value)
{
    const int u = n % out.share;
    if (u < out.units) out.start[b*out.far + (n / out.share*out.jump + u)*out.near] = value;
}

/* out = x times the block's rows of weights, which stand column by column in shared memory; `work`: 8 warps by 1024 numbers, the
   sums of a slice in 128 D of them: four rows by thread, thread by thread, for the first example of each thread, the second, ...
   Where there are fewer tiles than warps, several warps share a tile's columns; all sums of a tile are joined in one order. */
template <int D> static __device__ inline void product_(const real *weights, int rows, int depth, matrix_ x, int examples, share_ out, real *work)
{
    const int padded = (rows + 3) / 4*4, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int down = (rows + 4*D - 1) / (4*D), tiles = down*((examples + 31) / 32), ways = tiles >= 8 ? 1 : 8 / max(tiles, 1);
    const int together = 8 / ways, span = (depth + 16*ways - 1) / (16*ways)*16;
    for (int first = 0; first < tiles; first += together) {
        const int tile = first + warp / ways, way = warp % ways, top = tile % down*4*D, left = tile / down*32;
        real sum[4][8];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 8; j++) sum[i][j] = 0;
        if (tile < tiles && warp < together*ways) {
            const matrix_ some = {x.start + left*x.far, x.far, x.near};
            tile_<D>(sum, weights + min(top + lane % D*4, padded - 4), padded, depth, some, examples - left, min(way*span, depth),
                     min(way*span + span, depth), &work[1024*warp]);
        }
        real *mine = &work[1024*warp + lane / (4*D)*128*D + lane % (4*D)*4];
        for (int j = 0; j < 8; j++) *(four *)&mine[16*D*j] = {{sum[0][j], sum[1][j], sum[2][j], sum[3][j]}};
        __syncthreads();
        for (int at = threadIdx.x; at < together*128*D; at += 256) {
            const int which = at / (128*D), place = at % (128*D), n = place % (4*D), b = place / (4*D), here = first + which;
            const int row = here % down*4*D + n, example = here / down*32 + b % 4*8 + b / 4;
            real total = 0;
            for (int k = 0; k < ways*(8 / D); k++) total += work[1024*which*ways + 128*D*k + place];
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
