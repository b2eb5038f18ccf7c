// The scheduler: threads of a block run one after the other, and as fibers where they wait for each other.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cstdarg>
#include <csetjmp>
#include <csignal>
#include <type_traits>
#include <utility>
#include <vector>
#include <string>
#include <sys/mman.h>
#include <xmmintrin.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif


struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };
namespace cuh {
struct Vars { uint3 threadIdx, blockIdx; dim3 blockDim, gridDim; int tid; unsigned char* dyn; };
struct Opts { unsigned long long seed; int order_mode, strict, coop, ftz; };
struct Image { Vars* v; char *sh0, *sh1; void (*entry)(void**); };
static Vars* VP; static char *SH0, *SH1;
}
#define v_threadIdx (VP->threadIdx)
#define v_blockIdx (VP->blockIdx)
#define v_blockDim (VP->blockDim)
#define v_gridDim (VP->gridDim)
// ---------------------------------------------------------------- fibers
#if defined(__x86_64__) && !defined(CUH_UCONTEXT)
asm(R"(
.text
.type cuh_switch_asm,@function
.local cuh_switch_asm
cuh_switch_asm:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size cuh_switch_asm,.-cuh_switch_asm
)");
extern "C" void cuh_switch_asm(void** save, void* load) __attribute__((visibility("hidden")));
#else
#include <ucontext.h>
#endif

namespace cuh {
constexpr size_t kStack = 64 << 10;
struct Ctx {
#if defined(__x86_64__) && !defined(CUH_UCONTEXT)
  void* sp = nullptr;
#else
  ucontext_t uc;
#endif
  char* stack = nullptr;
  void* fake = nullptr;
};
struct Block;
enum St : uint8_t { UNSTARTED, READY, RUNNING, AT_BAR, AT_WARP, AT_GRID, DONE };
struct Warp { uint32_t arrived = 0, exited = 0, mask = 0; int op = 0, line = 0; uint64_t val[32]; int src[32]; uint64_t res[32]; };
struct Block {
  uint3 idx; int n = 0, alive = 0, at_bar = 0, at_grid = 0, bar_line = 0, bar_pred = 0, bar_res = 0, bar_op = 0;
  std::vector<uint8_t> st; std::vector<Ctx*> fib; std::vector<Warp> warps; std::vector<int> order; size_t next = 0; std::vector<int> ready; size_t rhead = 0;
  std::vector<char> shared_img, dyn_img; bool started = false;
};
struct Rt {
  void (*entry)(void**) = nullptr; void** args = nullptr;
  Ctx main; Ctx* cur = nullptr; std::vector<Ctx*> freelist, all;
  Block* b = nullptr; int tid = 0; bool coop = false, strict = true;
  unsigned long long seed = 0, rng = 0; int order_mode = 0;  // 0 forward 1 reverse 2 random
  char* dyn = nullptr; size_t dyn_n = 0, dyn_cap = 0;
  jmp_buf err; char msg[512]; unsigned long long switches = 0; int at_grid_total = 0;
  const void* stk_bottom = nullptr; size_t stk_size = 0;
};
static Rt R;
static unsigned rnd() { R.rng ^= R.rng << 13; R.rng ^= R.rng >> 7; R.rng ^= R.rng << 17; return (unsigned)(R.rng >> 11); }
static void fiber_main();
static void set_tid(int t) { unsigned x = v_blockDim.x, y = v_blockDim.y; R.tid = VP->tid = t; v_threadIdx = {t % x, (t / x) % y, t / (x * y)}; }
__attribute__((noinline)) static void sw(Ctx* from, Ctx* to) {
  R.switches++;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from->fake, to == &R.main ? R.stk_bottom : to->stack, to == &R.main ? R.stk_size : kStack);
#endif
#if defined(__x86_64__) && !defined(CUH_UCONTEXT)
  cuh_switch_asm(&from->sp, to->sp);
#else
  swapcontext(&from->uc, &to->uc);
#endif
#ifdef __SANITIZE_ADDRESS__
  const void* ob; size_t os; __sanitizer_finish_switch_fiber(from->fake, &ob, &os);
#endif
}
extern "C" { static void cuh_tramp() {
#ifdef __SANITIZE_ADDRESS__
  const void* ob; size_t os; __sanitizer_finish_switch_fiber(nullptr, &ob, &os); if (!R.stk_bottom) { R.stk_bottom = ob; R.stk_size = os; }
#endif
  fiber_main(); } }
static Ctx* new_fiber() {
  Ctx* c;
  if (!R.freelist.empty()) { c = R.freelist.back(); R.freelist.pop_back(); }
  else { c = new Ctx; c->stack = (char*)mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); mprotect(c->stack, 4096, PROT_NONE); R.all.push_back(c); }
#if defined(__x86_64__) && !defined(CUH_UCONTEXT)
  void** p = (void**)(c->stack + kStack - 64); *--p = nullptr; *--p = (void*)cuh_tramp; for (int i = 0; i < 6; i++) *--p = nullptr; c->sp = p;
#else
  getcontext(&c->uc); c->uc.uc_stack.ss_sp = c->stack; c->uc.uc_stack.ss_size = kStack; c->uc.uc_link = nullptr; makecontext(&c->uc, (void (*)())cuh_tramp, 0);
#endif
  c->fake = nullptr; return c;
}
[[noreturn]] __attribute__((noinline)) static void fail(const char* f, ...) {
  va_list ap; va_start(ap, f); int n = snprintf(R.msg, sizeof R.msg, "block(%u,%u,%u) thread(%u,%u,%u): ", v_blockIdx.x, v_blockIdx.y, v_blockIdx.z, v_threadIdx.x, v_threadIdx.y, v_threadIdx.z);
  vsnprintf(R.msg + n, sizeof R.msg - n, f, ap); va_end(ap); longjmp(R.err, 1);
}
static void make_ready(Block& b, int t) { b.st[t] = READY; b.ready.push_back(t); }
static void release_bar(Block& b) { b.at_bar = 0; b.bar_res = b.bar_pred; b.bar_pred = 0; b.bar_line = 0; for (int t = 0; t < b.n; t++) if (b.st[t] == AT_BAR) make_ready(b, t); }
static void warp_done(Block& b, int w);
static void on_exit_thread() {
  Block& b = *R.b; int t = R.tid; b.st[t] = DONE; b.alive--; Warp& w = b.warps[t >> 5]; w.exited |= 1u << (t & 31);
  if (w.arrived && ((w.mask & ~w.exited) == (w.arrived & ~w.exited))) warp_done(b, t >> 5);
  if (b.alive && b.at_bar == b.alive) { if (R.strict) fail("__syncthreads() at line %d reached by only part of the block: the other threads have exited", b.bar_line); release_bar(b); }
}
static void yield_to_main() { Ctx* me = R.cur; sw(me, &R.main); }
static void park(St s) { Block& b = *R.b; int t = R.tid; b.st[t] = s; b.fib[t] = R.cur; uint3 bi = v_blockIdx; yield_to_main(); v_blockIdx = bi; set_tid(t); b.st[t] = RUNNING; }
static void fiber_main() {
  for (;;) {  // start threads back to back on this stack while none of them blocks
    Block& b = *R.b;
    b.st[R.tid] = RUNNING; R.entry(R.args); on_exit_thread();
    if (b.next < b.order.size() && b.rhead >= b.ready.size()) { set_tid(b.order[b.next++]); continue; }
    Ctx* me = R.cur; R.freelist.push_back(me); yield_to_main();
  }
}
static void run_block_until_stuck(Block& b) {
  R.b = &b; v_blockIdx = b.idx;
  for (;;) {
    bool have_r = b.rhead < b.ready.size(), have_u = b.next < b.order.size();
    if (!have_r && !have_u) break;
    if (have_r && (!have_u || R.order_mode != 2 || (rnd() & 1))) {
      if (R.order_mode == 2) { size_t k = b.rhead + rnd() % (b.ready.size() - b.rhead); std::swap(b.ready[k], b.ready[b.rhead]); }
      else if (R.order_mode == 1) { std::swap(b.ready[b.ready.size() - 1], b.ready[b.rhead]); }
      int t = b.ready[b.rhead++]; if (b.rhead == b.ready.size()) { b.ready.clear(); b.rhead = 0; }
      R.cur = b.fib[t]; sw(&R.main, R.cur);
    } else { set_tid(b.order[b.next++]); R.cur = new_fiber(); sw(&R.main, R.cur); }
  }
}
static void init_block(Block& b, uint3 idx, int n) {
  b.idx = idx; b.n = b.alive = n; b.st.assign(n, UNSTARTED); b.fib.assign(n, nullptr); b.warps.assign((n + 31) / 32, Warp{}); b.order.resize(n); b.next = 0; b.ready.clear(); b.rhead = 0; b.at_bar = b.at_grid = 0;
  if (n & 31) b.warps.back().exited = ~((1u << (n & 31)) - 1);
  for (int i = 0; i < n; i++) b.order[i] = R.order_mode == 1 ? n - 1 - i : i;
  if (R.order_mode == 2) for (int i = n - 1; i > 0; i--) std::swap(b.order[i], b.order[rnd() % (i + 1)]);
}
static size_t shn() { return (size_t)(SH1 - SH0); }
__attribute__((no_sanitize("address"))) static void fill(char* p, int v, size_t n) { for (size_t i = 0; i < n; i++) ((volatile char*)p)[i] = (char)v; }
static void fill_shared(char* p, size_t n) {
#ifdef __SANITIZE_ADDRESS__
  fill(p, 0xff, n);
#else
  memset(p, 0xff, n);
#endif
}
static const char* stuck_report(Block& b) {
  static char s[256]; int nb = 0, nw = 0, ng = 0, l1 = 0; for (int t = 0; t < b.n; t++) { nb += b.st[t] == AT_BAR; if (b.st[t] == AT_WARP) { nw++; l1 = b.warps[t >> 5].line; } ng += b.st[t] == AT_GRID; }
  snprintf(s, sizeof s, "deadlock in block (%u,%u,%u): %d threads at __syncthreads (line %d), %d at a warp operation (line %d), %d at grid sync, %d exited", b.idx.x, b.idx.y, b.idx.z, nb, b.bar_line, nw, l1, ng, b.n - b.alive); return s;
}
static void check_dyn() { for (int i = 0; i < 64; i++) if ((unsigned char)R.dyn[R.dyn_n + i] != 0xA5) fail("write past the end of dynamic shared memory (+%d bytes past %zu)", i, R.dyn_n); }

// ---------------------------------------------------------------- barriers and warp operations
enum { OP_SYNC = 1, OP_SHFL, OP_BALLOT, OP_ANY, OP_ALL, OP_RADD, OP_RMAX, OP_RMIN, OP_MATCH };
static int bar(int line, int pred, int op) {
  Block& b = *R.b;
  if (b.at_bar && R.strict && (b.bar_line != line || b.bar_op != op)) fail("divergent __syncthreads(): line %d while other threads wait at line %d", line, b.bar_line);
  if (!b.at_bar) b.bar_pred = op == 3 ? 1 : 0;
  b.bar_line = line; b.bar_op = op; b.bar_pred = op == 1 ? b.bar_pred + (pred != 0) : op == 2 ? (b.bar_pred | (pred != 0)) : op == 3 ? (b.bar_pred & (pred != 0)) : 0;
  b.at_bar++;
  if (b.at_bar == b.alive) { if (R.strict && b.alive != b.n) fail("__syncthreads() at line %d after some threads of the block exited", line); b.st[R.tid] = AT_BAR; b.fib[R.tid] = R.cur;
    if (R.order_mode == 0 ) { b.st[R.tid] = RUNNING; release_bar(b); return b.bar_res; }
    release_bar(b); int t = R.tid; uint3 bi = v_blockIdx; yield_to_main(); v_blockIdx = bi; set_tid(t); b.st[t] = RUNNING; return b.bar_res; }
  park(AT_BAR); return b.bar_res;
}
static void warp_done(Block& b, int wi) {
  Warp& w = b.warps[wi]; uint32_t m = w.mask & ~w.exited; uint64_t acc = 0; bool first = true;
  if (w.op == OP_BALLOT) { for (int l = 0; l < 32; l++) if (m >> l & 1) acc |= (uint64_t)(w.val[l] != 0) << l; }
  else if (w.op == OP_ANY) { for (int l = 0; l < 32; l++) if (m >> l & 1) acc |= w.val[l] != 0; }
  else if (w.op == OP_ALL) { acc = 1; for (int l = 0; l < 32; l++) if (m >> l & 1) acc &= w.val[l] != 0; }
  else if (w.op >= OP_RADD && w.op <= OP_RMIN) for (int l = 0; l < 32; l++) if (m >> l & 1) { int v = (int)w.val[l], a = (int)acc; acc = (uint32_t)(first ? v : w.op == OP_RADD ? (int)((unsigned)a + (unsigned)v) : w.op == OP_RMAX ? (a > v ? a : v) : (a < v ? a : v)); first = false; }
  for (int l = 0; l < 32; l++) if (m >> l & 1) {
    if (w.op == OP_SHFL) { int s = w.src[l]; if (!(m >> s & 1)) { set_tid(wi * 32 + l); fail("line %d: shuffle reads lane %d, which is not active in mask %08x", w.line, s, w.mask); } w.res[l] = w.val[s]; }
    else w.res[l] = acc;
  }
  w.arrived = 0; int t0 = wi * 32; for (int l = 0; l < 32; l++) if ((m >> l & 1) && b.st[t0 + l] == AT_WARP) make_ready(b, t0 + l);
}
static uint64_t warp_op(int op, uint32_t mask, uint64_t v, int src, int line) {
  Block& b = *R.b; int t = R.tid, lane = t & 31; Warp& w = b.warps[t >> 5];
  if (!(mask >> lane & 1)) fail("line %d: lane %d calls a warp operation but is not in its mask %08x", line, lane, mask);
  if (w.arrived) { if (w.mask == mask && (w.op != op || w.line != line)) fail("line %d: divergent warp operation (other lanes are at line %d)", line, w.line);
    if (w.mask != mask) { if ((w.mask & mask) != 0) fail("line %d: overlapping masks %08x and %08x in one warp", line, mask, w.mask); fail("line %d: disjoint concurrent masks not supported", line); } }
  else { w.mask = mask; w.op = op; w.line = line; }
  w.val[lane] = v; w.src[lane] = src; w.arrived |= 1u << lane;
  if ((w.mask & ~w.exited) == (w.arrived & ~w.exited)) { warp_done(b, t >> 5); return w.res[lane]; }
  park(AT_WARP); return b.warps[t >> 5].res[lane];
}
static void grid_sync(int line) {
  if (!R.coop) fail("line %d: grid sync in a kernel launched without enable_cooperative_groups", line);
  Block& b = *R.b; b.at_grid++; R.at_grid_total++; park(AT_GRID); (void)line;
}
}  // namespace cuh
namespace cuh {
static void on_segv(int sig, siginfo_t* si, void*) {
  sigset_t s; sigemptyset(&s); sigaddset(&s, SIGSEGV); sigaddset(&s, SIGBUS); sigaddset(&s, SIGILL); sigaddset(&s, SIGFPE); sigprocmask(SIG_UNBLOCK, &s, nullptr);
  if (sig == SIGILL) fail("undefined behaviour trapped (array index, shift, alignment or signed overflow)"); if (sig == SIGFPE) fail("integer division by zero");
  fail("invalid memory access at address %p", si->si_addr);
}
extern "C" __attribute__((visibility("default"))) int cuhrt_launch(const Image* im, const unsigned* g, const unsigned* blk, size_t smem, void** args, const Opts* o, char* msg, size_t msgn, unsigned long long* switches) {
  VP = im->v; SH0 = im->sh0; SH1 = im->sh1; R.entry = im->entry; R.args = args; R.order_mode = o->order_mode; R.strict = o->strict; R.coop = o->coop; R.seed = o->seed; R.rng = o->seed * 0x9E3779B97F4A7C15ull + 88172645463325252ull; R.switches = 0; R.at_grid_total = 0;
  v_gridDim = dim3(g[0], g[1], g[2]); v_blockDim = dim3(blk[0], blk[1], blk[2]); v_blockIdx = {0, 0, 0}; v_threadIdx = {0, 0, 0};
  int n = blk[0] * blk[1] * blk[2]; unsigned long long nb = (unsigned long long)g[0] * g[1] * g[2];
  if (n <= 0 || n > 1024 || blk[2] > 64 || g[1] > 65535 || g[2] > 65535 || nb == 0) { snprintf(msg, msgn, "invalid launch configuration grid=(%u,%u,%u) block=(%u,%u,%u)", g[0], g[1], g[2], blk[0], blk[1], blk[2]); return 2; }
  if (smem + shn() > 227 * 1024) { snprintf(msg, msgn, "shared memory %zu over 227 KiB", smem + shn()); return 2; }
  R.dyn_n = smem; if (smem + 64 > R.dyn_cap) { free(R.dyn); R.dyn_cap = (smem + 64 + 4095) & ~4095ull; R.dyn = (char*)aligned_alloc(4096, R.dyn_cap); }
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(R.dyn, R.dyn_cap);
#endif
  memset(R.dyn + smem, 0xA5, 64); VP->dyn = (unsigned char*)R.dyn;
  unsigned csr = _mm_getcsr(); if (o->ftz) _mm_setcsr(csr | 0x8040);
  struct sigaction sa = {}, o1, o2; sa.sa_sigaction = on_segv; sa.sa_flags = SA_SIGINFO | SA_NODEFER;
#ifndef __SANITIZE_ADDRESS__
  sigaction(SIGSEGV, &sa, &o1); sigaction(SIGBUS, &sa, &o2); struct sigaction o3, o4; sigaction(SIGILL, &sa, &o3); sigaction(SIGFPE, &sa, &o4);
#endif
  int rc = 0; static std::vector<Block> blocks; blocks.resize(o->coop ? nb : 1);
  if (setjmp(R.err) == 0) {
    if (!o->coop) {
      for (unsigned long long k = 0; k < nb; k++) {
        unsigned long long q = o->order_mode == 1 ? nb - 1 - k : k; Block& b = blocks[0];
        init_block(b, {(unsigned)(q % g[0]), (unsigned)(q / g[0] % g[1]), (unsigned)(q / ((unsigned long long)g[0] * g[1]))}, n);
        if (shn()) fill_shared(SH0, shn()); if (smem) memset(R.dyn, 0xff, smem);
        run_block_until_stuck(b); if (b.alive) { fail("%s", stuck_report(b)); } if (smem) check_dyn();
      }
    } else {
      for (unsigned long long q = 0; q < nb; q++) { Block& b = blocks[q]; init_block(b, {(unsigned)(q % g[0]), (unsigned)(q / g[0] % g[1]), (unsigned)(q / ((unsigned long long)g[0] * g[1]))}, n); b.shared_img.assign(shn(), (char)0xff); b.dyn_img.assign(smem, (char)0xff); }
      for (;;) {
        long long alive = 0;
        for (unsigned long long kk = 0; kk < nb; kk++) { unsigned long long k = o->order_mode == 1 ? nb - 1 - kk : kk; Block& b = blocks[k];
          if (shn()) memcpy(SH0, b.shared_img.data(), shn()); if (smem) memcpy(R.dyn, b.dyn_img.data(), smem);
          run_block_until_stuck(b); if (smem) check_dyn();
          if (shn()) memcpy(b.shared_img.data(), SH0, shn()); if (smem) memcpy(b.dyn_img.data(), R.dyn, smem); alive += b.alive; }
        if (!alive) break;
        if (R.at_grid_total != alive || alive != (long long)nb * n) for (auto& b : blocks) if (b.at_grid != b.n) fail("%s", stuck_report(b));
        R.at_grid_total = 0; for (auto& b : blocks) { b.at_grid = 0; for (int t = 0; t < b.n; t++) if (b.st[t] == AT_GRID) make_ready(b, t); }
      }
    }
  } else { rc = 1; snprintf(msg, msgn, "%s", R.msg); R.freelist = R.all; for (auto& b : blocks) b = Block{}; }
  if (rc == 0) R.freelist = R.all;
#ifndef __SANITIZE_ADDRESS__
  sigaction(SIGSEGV, &o1, nullptr); sigaction(SIGBUS, &o2, nullptr); sigaction(SIGILL, &o3, nullptr); sigaction(SIGFPE, &o4, nullptr);
#endif
  _mm_setcsr(csr); *switches = R.switches; return rc;
}
}

extern "C" { __attribute__((visibility("default"))) int cuhrt_bar(int l, int p, int o) { return cuh::bar(l, p, o); }
__attribute__((visibility("default"))) uint64_t cuhrt_warp_op(int op, uint32_t m, uint64_t v, int s, int l) { return cuh::warp_op(op, m, v, s, l); }
__attribute__((visibility("default"))) void cuhrt_grid_sync(int l) { cuh::grid_sync(l); } }
