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

/* A warp's tile is 8 D rows of weights by 8 A examples: D lanes down, A across, in 32 / (D A) slices, each with its own columns.
   It takes 64 / A columns at a time. Few examples: A = 1; many: A = 4. */

/* The next columns of the tile's examples, as far as there are so many: each thread four neighbours of four rows. */
template <int A> static __device__ inline void bring_(four *some, matrix_ x, int rows, int from, int to)
{
    const int lane = threadIdx.x % 32;
    for (int n = 0; n < 4; n++) {
        const int b = lane / 4 + n % A*8, k = from + lane % 4*4 + n / A*16;
        const real *there = &x.start[b*x.far + k*x.near];
        some[n] = {{0, 0, 0, 0}};
        if (b < rows && x.whole) {
            if (k < to) some[n] = *(const four *)there;
        }
        else if (b < rows)
            for (int i = 0; i < 4; i++) if (k + i < to) some[n].x[i] = there[i*x.near];
    }
}

/* The place of example b of column k, of those that a tile takes at a time, such that threads which write or read them together
   do so in different banks. */
template <int A> static __device__ inline int place_(int b, int k)
{
    return A == 4 ? 32*k + (b ^ k / 4*8 ^ k % 2*16) : 8*(k ^ k / 4 % 4) + (b ^ k / 4 % 2*4);
}

/* Adds up these columns: each thread 8 rows of weights (two times 4) times 8 examples (two times 4). Its sums, by the bits of
   their number: which 4 examples, which half of them, which 4 rows, the example, the row. */
template <int D, int A> static __device__ inline void
add_up_(real *sum, const real *weights, const real *more, int padded, int from, int depth, const real *held)
{
    const int lane = threadIdx.x % 32, slices = 32 / (D*A), slice = lane / (D*A), start = place_<A>(lane / D % A*4, slice);
    #pragma unroll
    for (int n = 0; n < 2*D; n++) {                              /* `turn` is known here: bits of places add up without carry */
        const int column = min(from + slice + slices*n, depth - 1)*padded, here = 256 / D*n, turn = place_<A>(0, slices*n) - here;
        const four w[2] = {*(const four *)&weights[column], *(const four *)&more[column]};
        const four x[2] = {*(const four *)&held[here + (start ^ turn)], *(const four *)&held[here + (start ^ turn ^ 4*A)]};
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 8; j++)
                sum[j / 2*16 + i / 4*8 + j % 2*4 + i % 4] += w[i / 4].x[i % 4] * x[j / 4].x[j % 4];
    }
}

/* Sums of two lanes that differ in this bit: the lower lane gets the first N of the totals, the upper one the others. `turned`:
   the upper lane has them the other way round. */
template <int N> static __device__ inline void split_(real *sum, int bit, bool turned = false)
{
    const bool second = threadIdx.x & bit && !turned;
    for (int n = 0; n < N; n++) {
        const real mine = second ? sum[n + N] : sum[n], other = second ? sum[n] : sum[n + N];
        sum[n] = mine + __shfl_xor_sync(0xffffffff, other, bit);
    }
}

/* A tile by a warp, rows of weights from `top`, columns from..to; the totals go to `held`, example by example. The next columns
   are on their way while the last ones are added up, which stand in one half of `held`, 1024 numbers, or the other. Lanes with
   bit 4 have their two times 4 rows the other way round: else some would read weights from the same banks. */
template <int D, int A> static __device__ inline void
tile_(const real *weights, int padded, int depth, int top, matrix_ x, int rows, int from, int to, real *held)
{
    const int lane = threadIdx.x % 32, across = lane / D % A*4, down = lane % D*4, turned = lane / 4 % 2;
    const real *start = weights + min(top + down + turned*4*D, padded - 4);
    const real *more = weights + min(top + down + (1 - turned)*4*D, padded - 4);
    real sum[64];
    for (int n = 0; n < 64; n++) sum[n] = 0;
    four some[4];
    bring_<A>(some, x, rows, from, to);
    for (int k = from; k < to; k += 64 / A) {
        real *half = &held[k / (64 / A) % 2*512];
        for (int n = 0; n < 4; n++)
            for (int i = 0; i < 4; i++) half[place_<A>(lane / 4 + n % A*8, lane % 4*4 + n / A*16 + i)] = some[n].x[i];
        __syncwarp();
        bring_<A>(some, x, rows, k + 64 / A, to);
        add_up_<D, A>(sum, start, more, padded, k, depth, half);
    }
    __syncwarp();
    split_<32>(sum, 16);
    if (D*A < 16) split_<16>(sum, 8);
    if (D*A < 8) split_<8>(sum, 4, true);
    if (D*A < 4) split_<4>(sum, 2);
    if (D*A < 2) split_<2>(sum, 1);
    for (int n = 0; n < 2*D*A; n += 4) {
        const int at = lane / (D*A)*2*D*A + (n ^ (D*A < 8 ? 0 : turned*8));       /* its number among the 64 of all slices */
        real *total = &held[(at / 32*4*A + across + at / 16 % 2*2 + at / 4 % 2)*8*D + at / 8 % 2*4*D + down + at % 4];
        if (D*A == 1) { total[0] = sum[0]; total[1] = sum[1]; }
        else *(four *)total = {{sum[n], sum[n + 1], sum[n + 2], sum[n + 3]}};
    }
}

/* Element n of a block's share of example b. */
static __device__ inline void put_(share_ out, int n, int b, real value)
{
    const int u = n % out.share;
    if (u < out.units) out.start[b*out.far + (n / out.share*out.jump + u)*out.near] = value;
}

/* out = x times the block's rows of weights, which stand column by column in shared memory, `held` numbers from its start, where
   8 warps have 1024 numbers each to work with. Where there are fewer tiles than warps, several warps share a tile's columns; all
   sums of a tile are joined in one order. It is never inlined: six forms in one kernel would want too many registers. */
template <int D, int A> static __device__ __noinline__ void
product_(int held, int rows, int depth, matrix_ x, int examples, share_ out)
{
    extern __shared__ real shared_[];                            /* the kernel's `work`; of a pointer, the memory is not known */
    __builtin_assume(__isGlobal(x.start));
    const int padded = (rows + 3) / 4*4, warp = threadIdx.x / 32, down = (rows + 8*D - 1) / (8*D);
    const int tiles = down*((examples + 8*A - 1) / (8*A)), ways = tiles >= 8 ? 1 : 8 / max(tiles, 1), together = 8 / ways;
    const int span = (depth*A + 64*ways - 1) / (64*ways)*(64 / A);
    for (int first = 0; first < tiles; first += together) {
        const int tile = first + warp / ways, from = min(warp % ways*span, depth), left = tile / down*8*A;
        if (tile < tiles && warp < together*ways)
            tile_<D, A>(shared_ + held, padded, depth, tile % down*8*D, {x.start + left*x.far, x.far, x.near, x.whole},
                        examples - left, from, min(from + span, depth), &shared_[1024*warp]);
        __syncthreads();
        for (int at = threadIdx.x; at < min(together, tiles - first)*64*D*A; at += 256) {
            const int which = at / (64*D*A), place = at % (64*D*A), here = first + which;
            const int row = here % down*8*D + place % (8*D), example = here / down*8*A + place / (8*D);
            real total = 0;
            for (int k = 0; k < ways; k++) total += shared_[1024*(which*ways + k) + place];
            if (row < rows && example < examples) put_(out, row, example, total);
        }
        __syncthreads();
    }
}

/* The product in the form that fits the numbers of rows and examples. */
static __device__ inline void multiply_(const real *weights, int rows, int depth, matrix_ x, int examples, share_ out,
                                        const real *work)
{
    const int held = (int)(weights - work);
    x.whole = x.near == 1 && x.far % 4 == 0 && depth % 4 == 0 && (size_t)x.start % sizeof(four) == 0;
    if (examples <= 16) {
        if (rows <= 8) product_<1, 1>(held, rows, depth, x, examples, out);
        else if (rows <= 16) product_<2, 1>(held, rows, depth, x, examples, out);
        else product_<4, 1>(held, rows, depth, x, examples, out);
    }
    else if (rows <= 8) product_<1, 4>(held, rows, depth, x, examples, out);
    else if (rows <= 16) product_<2, 4>(held, rows, depth, x, examples, out);
    else product_<4, 4>(held, rows, depth, x, examples, out);
}
