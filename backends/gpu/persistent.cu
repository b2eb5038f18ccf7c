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

/* A matrix as a kernel walks through it: element (b, k) stands at start[b*far + k*near]; `whole`: four of a row at a time. */
struct matrix_ { const real *start; int far, near; bool whole; };
/* Where a block's share of a product goes: unit u of part p of example b, at start[b*far + (p*jump + u)*near]. */
struct share_ { real *start; int far, near, jump, share, units; };

/* Columns from, ..., from + 15 of 32 rows, as far as there are so many: each thread four neighbours of four rows. */
static __device__ inline void bring_(four *some, matrix_ x, int rows, int from, int to)
{
    const int lane = threadIdx.x % 32, k = from + lane % 4*4;
    for (int n = 0; n < 4; n++) {
        const int b = lane / 4 + 8*n;
        const real *there = &x.start[b*x.far + k*x.near];
        some[n] = {{0, 0, 0, 0}};
        if (b < rows && x.whole) {
            if (k < to) some[n] = *(const four *)there;
        }
        else if (b < rows)
            for (int i = 0; i < 4; i++) if (k + i < to) some[n].x[i] = there[i*x.near];
    }
}

/* The place of row b of column k, of 16 columns by 32 rows, such that threads which write or read them together do so in
   different banks. */
static __device__ inline int place_(int b, int k) { return 32*k + (b ^ k / 4*8 ^ k % 2*16); }

/* Adds up 16 columns: each thread 8 rows of weights (two times 4) times 8 examples (two times 4), threads of a warp in slices
   of 4 D, each slice its own columns. */
template <int D> static __device__ inline void
add_up_(real (*sum)[8], const real *weights, const real *more, int padded, int from, int depth,
        const real *held)
{
    const int slice = threadIdx.x % 32 / (4*D), start = place_(threadIdx.x % 32 / D % 4*4, slice);
    #pragma unroll
    for (int n = 0; n < 2*D; n++) {                              /* as place_ says: `turn` is known here, 16 rows on is ^ 16 */
        const int k = slice + 8 / D*n, column = min(from + k, depth - 1)*padded, here = 256 / D*n, turn = 8 / D*n / 4*8;
        const four w[2] = {*(const four *)&weights[column], *(const four *)&more[column]};
        const four x[2] = {*(const four *)&held[here + (start ^ turn)], *(const four *)&held[here + (start ^ turn ^ 16)]};
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 8; j++) sum[i][j] += w[i / 4].x[i % 4] * x[j / 4].x[j % 4];
    }
}

/* One tile, 8 D rows of weights from `top` by 32 examples, columns from..to, by a warp: D lanes down, 4 across, 8 / D slices. The
   next 16 columns are on their way while the last ones are added up, which stand in one half of `held`, 1024 numbers, or the
   other. */
template <int D> static __device__ inline void
tile_(real (*sum)[8], const real *weights, int padded, int depth, int top, matrix_ x, int rows,
      int from, int to, real *held)
{
    const int lane = threadIdx.x % 32, down = top + lane % D*4;
    const real *start = weights + min(down, padded - 4), *more = weights + min(down + 4*D, padded - 4);
    four some[4];
    bring_(some, x, rows, from, to);
    for (int k = from; k < to; k += 16) {
        real *half = &held[k / 16 % 2*512];
        for (int n = 0; n < 4; n++)
            for (int i = 0; i < 4; i++) half[place_(lane / 4 + 8*n, lane % 4*4 + i)] = some[n].x[i];
        __syncwarp();
        bring_(some, x, rows, k + 16, to);
        add_up_<D>(sum, start, more, padded, k, depth, half);
    }
    __syncwarp();
}

/* Half of a warp's sums, of its lower 16 lanes and its upper ones together: examples 0, ..., 3 of each thread to the lower ones,
   4, ..., 7 to the upper; four rows of an example by thread, thread by thread. */
static __device__ inline void half_(real (*sum)[8], real *joined)
{
    const int lane = threadIdx.x % 32;
    for (int j = 0; j < 4; j++)
        for (int r = 0; r < 2; r++) {
            four kept;
            for (int i = 0; i < 4; i++) {
                const real lower = sum[4*r + i][j], upper = sum[4*r + i][j + 4];
                const real other = __shfl_xor_sync(0xffffffff, lane < 16 ? upper : lower, 16);
                kept.x[i] = lane < 16 ? lower + other : other + upper;
            }
            *(four *)&joined[128*(4*r + j) + 4*lane] = kept;
        }
}

/* Element n of a block's share of example b. */
static __device__ inline void put_(share_ out, int n, int b, real value)
{
    const int u = n % out.share;
    if (u < out.units) out.start[b*out.far + (n / out.share*out.jump + u)*out.near] = value;
}

/* out = x times the block's rows of weights, which stand column by column in shared memory; `work`: 8 warps by 1024 numbers.
   Where there are fewer tiles than warps, several warps share a tile's columns; all sums of a tile are joined in one order. */
template <int D> static __device__ inline void
product_(const real *weights, int rows, int depth, matrix_ x, int examples, share_ out, real *work)
{
    const int padded = (rows + 3) / 4*4, warp = threadIdx.x / 32;
    const int down = (rows + 8*D - 1) / (8*D), tiles = down*((examples + 31) / 32), ways = tiles >= 8 ? 1 : 8 / max(tiles, 1);
    const int together = 8 / ways, span = (depth + 16*ways - 1) / (16*ways)*16;
    for (int first = 0; first < tiles; first += together) {
        const int tile = first + warp / ways, way = warp % ways, left = tile / down*32;
        if (tile < tiles && warp < together*ways) {
            real sum[8][8];
            for (int i = 0; i < 8; i++)
                for (int j = 0; j < 8; j++) sum[i][j] = 0;
            const matrix_ some = {x.start + left*x.far, x.far, x.near, x.whole};
            tile_<D>(sum, weights, padded, depth, tile % down*8*D, some, examples - left, min(way*span, depth),
                     min(way*span + span, depth), &work[1024*warp]);
            half_(sum, &work[1024*warp]);
        }
        __syncthreads();
        for (int at = threadIdx.x; at < min(together, tiles - first)*256*D; at += 256) {
            const int which = at / (256*D), n = at % 4, lane = at / 4 % (4*D), half = at / (16*D) % 2, some = at / (32*D) % 8;
            const int here = first + which, row = here % down*8*D + some / 4*4*D + lane % D*4 + n;
            const int example = here / down*32 + half*16 + lane / D*4 + some % 4;
            const real *sums = &work[1024*which*ways + 128*some + 64*half + 4*lane + n];
            real total = 0;
            for (int k = 0; k < ways; k++)
                for (int slice = 0; slice < 4 / D; slice++) total += sums[1024*k + 16*D*slice];
            if (row < rows && example < examples) put_(out, row, example, total);
        }
        __syncthreads();
    }
}

/* The product in the form that fits the number of rows. */
static __device__ inline void multiply_(const real *weights, int rows, int depth, matrix_ x, int examples, share_ out, real *work)
{
    x.whole = x.near == 1 && x.far % 4 == 0 && depth % 4 == 0 && (size_t)x.start % sizeof(four) == 0;
    if (rows <= 8) product_<1>(weights, rows, depth, x, examples, out, work);
    else if (rows <= 16) product_<2>(weights, rows, depth, x, examples, out, work);
    else product_<4>(weights, rows, depth, x, examples, out, work);
}
