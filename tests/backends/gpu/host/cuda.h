// The part of CUDA C++ that kernels use, for a C++ compiler: their text runs unchanged on the CPU. What is not here does not compile.
#pragma once
#include <math.h>
#include <string.h>
#include "interface.h"

#define __CUDA_ARCH__ 900
#define ON_HOST 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __isGlobal(p) ((void)(p), true)
#define __builtin_assume(what) ((void)(what))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("shared_memory"), used))    // all of it is NaN where a block begins

extern "C" {
extern char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));
}

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

namespace on_host {

static Place place;
static inline void *dynamic_shared() { return place.dynamic; }

template <class T> static inline uint64_t to_bits(T x)
{
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &x, sizeof x);
    return bits;
}
template <class T> static inline T from_bits(uint64_t bits)
{
    T x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
enum { TO, UP, DOWN, ACROSS };
template <int how, class T> static inline T shuffle(int line, uint32_t mask, T x, int by, int width = 32)
{
    const int lane = place.number & 31, first = lane & ~(width - 1), at = lane & (width - 1);
    int from = how == TO ? first + (by & (width - 1)) : how == UP ? (at - by < 0 ? lane : lane - by)
             : how == DOWN ? (at + by >= width ? lane : lane + by) : lane ^ by;
    if (from >= first + width) from = lane;
    return from_bits<T>(together(WARP_SHUFFLE, mask, to_bits(x), from, line));
}
static inline void warp_barrier(int line, uint32_t mask = 0xffffffffu) { together(WARP_SYNC, mask, 0, 0, line); }

}  // namespace on_host

#define threadIdx (on_host::place.thread)
#define blockIdx (on_host::place.block)
#define blockDim (on_host::place.block_dim)
#define gridDim (on_host::place.grid_dim)
static const int warpSize = 32;

#define __syncthreads() ((void)on_host::barrier(on_host::BARRIER, 0, __LINE__))
#define __syncthreads_count(p) on_host::barrier(on_host::BARRIER_COUNT, (p), __LINE__)
#define __syncthreads_or(p) on_host::barrier(on_host::BARRIER_OR, (p), __LINE__)
#define __syncthreads_and(p) on_host::barrier(on_host::BARRIER_AND, (p), __LINE__)
#define __syncwarp(...) on_host::warp_barrier(__LINE__, ##__VA_ARGS__)
#define __shfl_sync(...) on_host::shuffle<on_host::TO>(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) on_host::shuffle<on_host::UP>(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) on_host::shuffle<on_host::DOWN>(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) on_host::shuffle<on_host::ACROSS>(__LINE__, __VA_ARGS__)
#define ON_HOST_VOTE(op, mask, x) on_host::together(on_host::op, mask, x, 0, __LINE__)
#define __ballot_sync(mask, p) ((unsigned)ON_HOST_VOTE(WARP_BALLOT, mask, (p) ? 1 : 0))
#define __any_sync(mask, p) ((int)ON_HOST_VOTE(WARP_ANY, mask, (p) ? 1 : 0))
#define __all_sync(mask, p) ((int)ON_HOST_VOTE(WARP_ALL, mask, (p) ? 1 : 0))
#define __reduce_add_sync(mask, x) ((int)ON_HOST_VOTE(WARP_ADD, mask, (uint32_t)(x)))
#define __reduce_max_sync(mask, x) ((int)ON_HOST_VOTE(WARP_MAX, mask, (uint32_t)(x)))
#define __reduce_min_sync(mask, x) ((int)ON_HOST_VOTE(WARP_MIN, mask, (uint32_t)(x)))

// Where a block may wait for another one's store, the others get their turn.
#define __threadfence() on_host::poll(0)
#define __threadfence_block() ((void)0)
#define __nanosleep(time) on_host::poll(0)

template <class T> struct as_given { typedef T type; };
template <class T, class How> static inline T changed(T *at, How how)
{
    const T old = *at;
    *at = how(old);
    on_host::poll(*at != old);
    return old;
}
#define ON_HOST_ATOMIC(name, value) \
    template <class T> static inline T name(T *at, typename as_given<T>::type x) { return changed(at, [x](T old) -> T { return value; }); }
ON_HOST_ATOMIC(atomicAdd, old + x)
ON_HOST_ATOMIC(atomicSub, old - x)
ON_HOST_ATOMIC(atomicMax, x > old ? x : old)
ON_HOST_ATOMIC(atomicMin, x < old ? x : old)
ON_HOST_ATOMIC(atomicExch, ((void)old, x))
template <class T> static inline T atomicCAS(T *at, typename as_given<T>::type is, typename as_given<T>::type x)
{
    return changed(at, [is, x](T old) -> T { return old == is ? x : old; });
}

template <class T> static inline T __ldg(const T *at) { return *at; }
template <class T> static inline T __ldcg(const T *at) { return *at; }
template <class T> static inline T __ldcs(const T *at) { return *at; }
template <class T> static inline void __stcg(T *at, T x) { *at = x; }
template <class T> static inline void __stcs(T *at, T x) { *at = x; }

#define ON_HOST_LEAST(T) \
    static inline T min(T x, T y) { return y < x ? y : x; } \
    static inline T max(T x, T y) { return y > x ? y : x; }
ON_HOST_LEAST(int)
ON_HOST_LEAST(unsigned)
ON_HOST_LEAST(long long)
static inline float min(float x, float y) { return fminf(x, y); }
static inline float max(float x, float y) { return fmaxf(x, y); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline int __float_as_int(float x) { return on_host::from_bits<int>(on_host::to_bits(x)); }
static inline float __int_as_float(int x) { return on_host::from_bits<float>(on_host::to_bits(x)); }
static inline unsigned __float_as_uint(float x) { return on_host::from_bits<unsigned>(on_host::to_bits(x)); }
static inline float __uint_as_float(unsigned x) { return on_host::from_bits<float>(on_host::to_bits(x)); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((uint64_t)x * y >> 32); }
static inline uint64_t __umul64hi(uint64_t x, uint64_t y) { return (uint64_t)((unsigned __int128)x * y >> 64); }
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __fdividef(x, y) ((float)(x) / (float)(y))
#define __fmaf_rn(x, y, z) fmaf(x, y, z)
#define __frcp_rn(x) (1.0f / (float)(x))

// ---------------------------------------------------------------- what a library of kernels exports

namespace on_host {

template <class T> struct name { static constexpr const char *text = "?"; };
#define ON_HOST_NAME(T, letters) template <> struct name<T> { static constexpr const char *text = letters; };
ON_HOST_NAME(float, "f4") ON_HOST_NAME(double, "f8") ON_HOST_NAME(bool, "b1") ON_HOST_NAME(char, "i1")
ON_HOST_NAME(signed char, "i1") ON_HOST_NAME(unsigned char, "u1") ON_HOST_NAME(short, "i2") ON_HOST_NAME(unsigned short, "u2")
ON_HOST_NAME(int, "i4") ON_HOST_NAME(unsigned, "u4") ON_HOST_NAME(long, "i8") ON_HOST_NAME(unsigned long, "u8")
ON_HOST_NAME(long long, "i8") ON_HOST_NAME(unsigned long long, "u8")
template <class T> struct name<const T> : name<T> {};
template <class T> struct parameter { static constexpr const char *head = "", *text = name<T>::text; };
template <class T> struct parameter<T *> { static constexpr const char *head = "*", *text = name<T>::text; };
template <class T> struct parameter<const T *> { static constexpr const char *head = "const *", *text = name<T>::text; };

template <class... P> static const char *parameters(void (*)(P...))      // "const *f4,*f4,i4,"
{
    static char text[8 * sizeof...(P) * 2 + 1];
    *text = 0;
    const int all[] = {0, (strcat(text, parameter<P>::head), strcat(text, parameter<P>::text), strcat(text, ","), 0)...};
    (void)all;
    return text;
}
template <size_t... K> struct numbers {};
template <size_t N, size_t... K> struct up_to : up_to<N - 1, N - 1, K...> {};
template <size_t... K> struct up_to<0, K...> { typedef numbers<K...> type; };
template <class... P, size_t... K> static void call_with(void (*kernel)(P...), void **arguments, numbers<K...>)
{
    (void)arguments;
    kernel(*(P *)arguments[K]...);
}
template <class... P> static void call(void (*kernel)(P...), void **arguments)
{
    call_with(kernel, arguments, typename up_to<sizeof...(P)>::type{});
}

}  // namespace on_host

#define ON_HOST_VISIBLE extern "C" __attribute__((visibility("default")))     // kernels are not: names as `advance` stand in libc, too
#define ON_HOST_EXPORT(kernel) \
    static void on_host_entry_##kernel(void **on_host_a) { on_host::call(::kernel, on_host_a); } \
    ON_HOST_VISIBLE const char *on_host_parameters_##kernel() { return on_host::parameters(::kernel); } \
    ON_HOST_VISIBLE int on_host_launch_##kernel(const on_host::Launch *on_host_l, void **on_host_a, char *on_host_m, size_t on_host_n) \
    { \
        const on_host::Image on_host_i = {&on_host::place, __start_shared_memory, __stop_shared_memory, on_host_entry_##kernel}; \
        return on_host::launch(&on_host_i, on_host_l, on_host_a, on_host_m, on_host_n); \
    }
