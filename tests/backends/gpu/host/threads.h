// The threads of a launch as fibers: who runs next, who stands aside, and how what goes wrong ends it. Of the scheduler only.
#pragma once
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>
#include "interface.h"

namespace on_host {

enum { FORWARD, BACKWARD, SHUFFLED };                            // orders of threads
enum State { READY, AT_BARRIER, AT_WARP, AT_GRID, POLLING, GONE };
constexpr size_t STACK = 256 << 10, PAGE = 4096, SHARED_MOST = 227 << 10;
constexpr int ROUNDS = 10000;                                    // of polling blocks without an event: nothing will come
constexpr uint64_t POLLS = 1000000;                              // by threads that no other block runs beside
constexpr int SECONDS = 60;                                      // of processor time for a launch

struct Fiber { ucontext_t start; jmp_buf at; bool begun; };
struct Thread { State state; Fiber *fiber; };
struct Warp { uint32_t mask, arrived, gone; int op, line; uint64_t given[32], found[32]; int from[32]; };
struct Block {
    Index index;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::deque<int> ready;
    std::vector<char> shared, dynamic;                           // of a block that waits for others of its grid
    int left, waiting, line, joined, op, result;
};

static struct {
    const Image *image;
    const Launch *launch;
    void **arguments;
    std::vector<Block> blocks;
    Block *block;
    int thread, at_grid;
    Fiber *fiber;
    std::vector<Fiber *> every, idle;
    jmp_buf home, error;
    char message[512];
    uint64_t random, events, polls;
    char *dynamic;                                               // ends at a page that cannot be touched
} run;

// ---------------------------------------------------------------- who runs

[[noreturn]] static void fail(const char *format, ...)
{
    const Index b = run.block ? run.block->index : Index{0, 0, 0}, t = run.image->place->thread;
    int n = snprintf(run.message, sizeof run.message, "block (%u, %u, %u), thread (%u, %u, %u): ", b.x, b.y, b.z, t.x, t.y, t.z);
    va_list more;
    va_start(more, format);
    vsnprintf(run.message + n, sizeof run.message - n, format, more);
    va_end(more);
    _longjmp(run.error, 1);
}

static unsigned drawn(unsigned below)
{
    run.random ^= run.random << 13, run.random ^= run.random >> 7, run.random ^= run.random << 17;
    return (unsigned)(run.random >> 11) % below;
}

static void become(int thread)
{
    Place &p = *run.image->place;
    const unsigned x = p.block_dim.x, y = p.block_dim.y, t = (unsigned)thread;
    run.thread = p.number = thread;
    p.thread = {t % x, t / x % y, t / (x * y)};
}

static int take()                                                // the next thread to run; the ready ones first
{
    std::deque<int> &ready = run.block->ready;
    if (ready.empty()) return -1;
    if (run.launch->order == SHUFFLED) std::swap(ready[drawn((unsigned)ready.size())], ready.front());
    const int t = ready.front();
    ready.pop_front();
    return t;
}

static void wake(Block &b, const std::vector<int> &threads)      // before those that have not begun, in the order of the launch
{
    run.events++;
    const bool forward = run.launch->order != BACKWARD;
    for (size_t k = 0; k < threads.size(); k++) {
        const int t = threads[forward ? threads.size() - 1 - k : k];
        b.threads[t].state = READY;
        b.ready.push_front(t);
    }
}

[[noreturn]] static void leave() { _longjmp(run.home, 1); }

static __attribute__((noinline)) void stand_aside(State state)
{
    const int me = run.thread;
    Fiber *fiber = run.fiber;
    run.block->threads[me] = {state, fiber};
    if (!_setjmp(fiber->at)) leave();
    become(run.thread);                                          // home has set who goes on
}

static void gone();

static void fiber_main()                                         // runs threads as long as none of them waits
{
    for (;;) {
        run.image->entry(run.arguments);
        gone();
        Block &b = *run.block;
        if (!b.ready.empty() && run.launch->order != SHUFFLED && !b.threads[b.ready.front()].fiber) {
            become(take());
            continue;
        }
        Fiber *fiber = run.fiber;
        run.idle.push_back(fiber);
        if (!_setjmp(fiber->at)) leave();
    }
}

static Fiber *fresh()
{
    if (run.idle.empty()) {
        char *stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        mprotect(stack, PAGE, PROT_NONE);
        Fiber *fiber = new Fiber;
        fiber->begun = false;
        getcontext(&fiber->start);
        fiber->start.uc_stack.ss_sp = stack;
        fiber->start.uc_stack.ss_size = STACK;
        fiber->start.uc_link = nullptr;
        makecontext(&fiber->start, fiber_main, 0);
        run.every.push_back(fiber);
        run.idle.push_back(fiber);
    }
    Fiber *fiber = run.idle.back();
    run.idle.pop_back();
    return fiber;
}

static __attribute__((noinline)) void enter(Fiber *fiber)        // comes back when it stands aside
{
    run.fiber = fiber;
    if (_setjmp(run.home)) return;
    if (fiber->begun) _longjmp(fiber->at, 1);
    fiber->begun = true;
    setcontext(&fiber->start);
}

static void go_on(Block &b)                                      // until every thread is gone or waits
{
    run.block = &b;
    run.image->place->block = b.index;
    for (int t; (t = take()) >= 0;) {
        become(t);
        enter(b.threads[t].fiber ? b.threads[t].fiber : fresh());
    }
}

}  // namespace on_host
