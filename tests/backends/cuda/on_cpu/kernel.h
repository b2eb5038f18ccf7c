// What CUDA C++ needs to be compiled by g++ and run on the CPU; the scheduler of its threads is a library of its own.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <stddef.h>
// ---------------------------------------------------------------- language surface
#define __CUHOST__ 1
#define __CUDA_ARCH__ 900
// __CUDACC__ not defined
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__
#undef __restrict__
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("cuh_shared"), used))

struct alignas(8) float2 { float x, y; }; struct float3 { float x, y, z; }; struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; }; struct alignas(16) int4 { int x, y, z, w; }; struct alignas(16) uint4 { unsigned x, y, z, w; }; struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) double2 { double x, y; };
struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };
static inline float2 make_float2(float a, float b) { return {a, b}; }
static inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }
static inline int4 make_int4(int a, int b, int c, int d) { return {a, b, c, d}; }
static inline int2 make_int2(int a, int b) { return {a, b}; }

namespace cuh {
struct Vars { uint3 threadIdx, blockIdx; dim3 blockDim, gridDim; int tid; unsigned char* dyn; };
static Vars V;
struct Opts { unsigned long long seed; int order_mode, strict, coop, ftz; };
struct Image { Vars* v; char *sh0, *sh1; void (*entry)(void**); };
extern "C" { int cuhrt_bar(int line, int pred, int op); uint64_t cuhrt_warp_op(int op, uint32_t mask, uint64_t v, int src, int line); void cuhrt_grid_sync(int line); void cuhrt_fail(const char* m, int line);
 int cuhrt_launch(const Image*, const unsigned* g, const unsigned* b, size_t smem, void** args, const Opts*, char* msg, size_t msgn, unsigned long long* sw); }
}
#define threadIdx (cuh::V.threadIdx)
#define blockIdx (cuh::V.blockIdx)
#define blockDim (cuh::V.blockDim)
#define gridDim (cuh::V.gridDim)
static const int warpSize = 32;

extern "C" { extern char __start_cuh_shared[] __attribute__((weak, visibility("hidden"))); extern char __stop_cuh_shared[] __attribute__((weak, visibility("hidden"))); }


namespace cuh {
enum { OP_SYNC = 1, OP_SHFL, OP_BALLOT, OP_ANY, OP_ALL, OP_RADD, OP_RMAX, OP_RMIN, OP_MATCH };
template <class T> static inline uint64_t bits(T v) { static_assert(sizeof(T) <= 8, "shuffle size"); uint64_t u = 0; memcpy(&u, &v, sizeof v); return u; }
template <class T> static inline T unbits(uint64_t u) { T v; memcpy(&v, &u, sizeof v); return v; }
template <class T> static inline T shfl(int kind, uint32_t mask, T v, int arg, int width, int line) {
  int lane = V.tid & 31, seg = lane & ~(width - 1), rel = lane & (width - 1), s = lane;
  if (kind == 0) s = seg + (arg & (width - 1)); else if (kind == 1) s = rel - arg < 0 ? lane : lane - arg; else if (kind == 2) s = rel + arg >= width ? lane : lane + arg; else { s = lane ^ arg; if (s >= seg + width) s = lane; }
  return unbits<T>(cuhrt_warp_op(OP_SHFL, mask, bits(v), s, line));
}
static inline int bar(int l, int p, int o) { return cuhrt_bar(l, p, o); }
static inline uint64_t warp_op(int op, uint32_t m, uint64_t v, int s, int l) { return cuhrt_warp_op(op, m, v, s, l); }
static inline void grid_sync(int l) { cuhrt_grid_sync(l); }
static inline void* dyn_shared() { return V.dyn; }
}
#define __syncthreads() ((void)cuh::bar(__LINE__, 0, 0))
#define __syncthreads_count(p) cuh::bar(__LINE__, (p), 1)
#define __syncthreads_or(p) cuh::bar(__LINE__, (p), 2)
#define __syncthreads_and(p) cuh::bar(__LINE__, (p), 3)
static inline void cuh_syncwarp(int line, uint32_t m = 0xffffffffu) { cuh::warp_op(cuh::OP_SYNC, m, 0, 0, line); }
#define __syncwarp(...) cuh_syncwarp(__LINE__ __VA_OPT__(,) __VA_ARGS__)
#define CUH_SH(name, kind) template <class T> static T cuh_##name(int line, uint32_t m, T v, int a, int w = 32) { return cuh::shfl(kind, m, v, a, w, line); }
CUH_SH(shfl, 0) CUH_SH(shfl_up, 1) CUH_SH(shfl_down, 2) CUH_SH(shfl_xor, 3)
#define __shfl_sync(...) cuh_shfl(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) cuh_shfl_up(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) cuh_shfl_down(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) cuh_shfl_xor(__LINE__, __VA_ARGS__)
#define __ballot_sync(m, p) ((unsigned)cuh::warp_op(cuh::OP_BALLOT, m, (p) ? 1 : 0, 0, __LINE__))
#define __any_sync(m, p) ((int)cuh::warp_op(cuh::OP_ANY, m, (p) ? 1 : 0, 0, __LINE__))
#define __all_sync(m, p) ((int)cuh::warp_op(cuh::OP_ALL, m, (p) ? 1 : 0, 0, __LINE__))
#define __reduce_add_sync(m, v) ((int)cuh::warp_op(cuh::OP_RADD, m, (uint32_t)(v), 0, __LINE__))
#define __reduce_max_sync(m, v) ((int)cuh::warp_op(cuh::OP_RMAX, m, (uint32_t)(v), 0, __LINE__))
#define __threadfence() ((void)0)
#define __threadfence_block() ((void)0)
#define __threadfence_system() ((void)0)

// ---------------------------------------------------------------- atomics (one OS thread: plain)
template <class T> struct cuh_id { typedef T type; };
template <class T> static T atomicAdd(T* p, typename cuh_id<T>::type v) { T o = *p; *p = o + v; return o; }
template <class T> static T atomicSub(T* p, typename cuh_id<T>::type v) { T o = *p; *p = o - v; return o; }
template <class T> static T atomicMax(T* p, typename cuh_id<T>::type v) { T o = *p; if (v > o) *p = v; return o; }
template <class T> static T atomicMin(T* p, typename cuh_id<T>::type v) { T o = *p; if (v < o) *p = v; return o; }
template <class T> static T atomicExch(T* p, typename cuh_id<T>::type v) { T o = *p; *p = v; return o; }
template <class T> static T atomicCAS(T* p, typename cuh_id<T>::type c, typename cuh_id<T>::type v) { T o = *p; if (o == c) *p = v; return o; }
template <class T> static T __ldg(const T* p) { return *p; }
template <class T> static T __ldcs(const T* p) { return *p; }
template <class T> static void __stcs(T* p, T v) { *p = v; }

// ---------------------------------------------------------------- math
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline long long max(long long a, long long b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __saturatef(float x) { return fminf(1.f, fmaxf(0.f, x)); }
static inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
static inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
static inline unsigned __float_as_uint(float f) { unsigned i; memcpy(&i, &f, 4); return i; }
static inline float __uint_as_float(unsigned i) { float f; memcpy(&f, &i, 4); return f; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __brev(unsigned x) { unsigned r = 0; for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i); return r; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __exp10f(x) exp10f(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __tanf(x) tanf(x)
#define __fdividef(a, b) ((float)(a) / (float)(b))
#define __frcp_rn(a) (1.0f / (float)(a))
#define __fsqrt_rn(a) sqrtf(a)
#define __frsqrt_rn(a) (1.0f / sqrtf(a))
#define __fmaf_rn(a, b, c) fmaf(a, b, c)
#define __fadd_rn(a, b) ((float)(a) + (float)(b))
#define __fmul_rn(a, b) ((float)(a) * (float)(b))
#define __float2int_rn(x) ((int)nearbyintf(x))
#define __float2int_rz(x) ((int)(x))

// ---------------------------------------------------------------- export
namespace cuh {
template <class T> struct Tc { static constexpr const char* s = "?"; };
#define CUH_TC(T, c) template <> struct Tc<T> { static constexpr const char* s = c; };
CUH_TC(float, "f4") CUH_TC(double, "f8") CUH_TC(int, "i4") CUH_TC(unsigned, "u4") CUH_TC(long long, "i8") CUH_TC(unsigned long long, "u8") CUH_TC(long, "i8") CUH_TC(unsigned long, "u8") CUH_TC(bool, "b1") CUH_TC(char, "i1") CUH_TC(signed char, "i1") CUH_TC(unsigned char, "u1") CUH_TC(short, "i2") CUH_TC(unsigned short, "u2") CUH_TC(float2, "2f4") CUH_TC(float4, "4f4") CUH_TC(int4, "4i4") CUH_TC(void, "v") 
template <class T> struct rmcv { typedef T type; }; template <class T> struct rmcv<const T> { typedef T type; };
template <class T> struct Tp { static constexpr const char* p = ""; static constexpr const char* s = Tc<typename rmcv<T>::type>::s; };
template <class T> struct Tp<T*> { static constexpr const char* p = "P"; static constexpr const char* s = Tc<T>::s; };
template <class T> struct Tp<const T*> { static constexpr const char* p = "cP"; static constexpr const char* s = Tc<T>::s; };
template <class... A> static inline void sig(void (*)(A...), char* o) { *o = 0; int d[] = {0, (strcat(o, Tp<typename rmcv<A>::type>::p), strcat(o, Tp<typename rmcv<A>::type>::s), strcat(o, ","), 0)...}; (void)d; }
template <class... A> static inline int psizes(void (*)(A...), int* o) { int k = 0; int d[] = {0, (o[k++] = (int)sizeof(A), 0)...}; (void)d; return k; }
template <size_t... I> struct seq {}; template <size_t N, size_t... I> struct mk : mk<N - 1, N - 1, I...> {}; template <size_t... I> struct mk<0, I...> { typedef seq<I...> type; };
template <class... A, size_t... I> static inline void call_(void (*f)(A...), void** p, seq<I...>) { f(*(typename rmcv<A>::type*)p[I]...); }
template <class... A> static inline void call(void (*f)(A...), void** p) { call_(f, p, typename mk<sizeof...(A)>::type{}); }
}
#define CUH_EXPORT(k)  static void cuh_entry_##k(void** cuh_a) { cuh::call(::k, cuh_a); } \
  extern "C" __attribute__((visibility("default"))) int cuh_launch_##k(const unsigned* cuh_g, const unsigned* cuh_b, size_t cuh_s, void** cuh_a, const cuh::Opts* cuh_o, char* cuh_m, size_t cuh_n, unsigned long long* cuh_w) { cuh::Image cuh_i = {&cuh::V, __start_cuh_shared, __stop_cuh_shared, cuh_entry_##k}; return cuh::cuhrt_launch(&cuh_i, cuh_g, cuh_b, cuh_s, cuh_a, cuh_o, cuh_m, cuh_n, cuh_w); } \
  extern "C" __attribute__((visibility("default"))) const char* cuh_sig_##k() { static char cuh_text[8192]; cuh::sig(::k, cuh_text); return cuh_text; } \
  extern "C" __attribute__((visibility("default"))) int cuh_psizes_##k(int* cuh_o) { return cuh::psizes(::k, cuh_o); } \
  extern "C" __attribute__((visibility("default"))) size_t cuh_static_shared_##k() { return __start_cuh_shared ? __stop_cuh_shared - __start_cuh_shared : 0; }
