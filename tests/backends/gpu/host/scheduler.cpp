// Runs the kernels of a library, compiled by a C++ compiler for the CPU. The threads of a block run one after the other; one that
// waits for others (barrier, shuffle, grid) is a fiber that stands aside until they come. What order they run in is chosen, so that
// results that depend on it show. Found on the way, with block and thread: barriers and warp operations that only some threads
// reach, or at different lines; accesses outside guarded memory; traps of the sanitiser; threads that wait for ever.
#include <sys/time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include "threads.h"

namespace on_host {

// ---------------------------------------------------------------- what they wait for

static void release(Block &b)
{
    std::vector<int> all;
    for (int t = 0; t < (int)b.threads.size(); t++) if (b.threads[t].state == AT_BARRIER) all.push_back(t);
    b.result = b.joined;
    b.waiting = 0;
    wake(b, all);
}

static const char *what(int op) { return op == BARRIER ? "__syncthreads" : "__syncthreads_..."; }

int barrier(int op, int given, int line)
{
    Block &b = *run.block;
    if (b.waiting && (b.line != line || b.op != op)) fail("%s at line %d, while others wait at line %d", what(op), line, b.line);
    if (b.left != (int)b.threads.size()) fail("%s at line %d, after some threads of the block have returned", what(op), line);
    if (!b.waiting) b.joined = op == BARRIER_AND;
    b.line = line, b.op = op;
    b.joined = op == BARRIER_COUNT ? b.joined + !!given : op == BARRIER_OR ? b.joined | !!given : b.joined & !!given;
    if (++b.waiting == b.left) {
        b.threads[run.thread].state = AT_BARRIER;
        b.threads[run.thread].fiber = run.fiber;
        release(b);
        if (!_setjmp(run.fiber->at)) leave();
        become(run.thread);
    } else
        stand_aside(AT_BARRIER);
    return b.result;
}

static uint64_t joined(const Warp &w, uint32_t lanes)
{
    uint64_t all = w.op == WARP_ALL;
    bool first = true;
    for (int lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        const uint64_t x = w.given[lane];
        const int a = (int)all, b = (int)x;
        switch (w.op) {
        case WARP_BALLOT: all |= (uint64_t)!!x << lane; break;
        case WARP_ANY: all |= !!x; break;
        case WARP_ALL: all &= !!x; break;
        case WARP_ADD: all = (uint32_t)(all + x); break;
        case WARP_MAX: all = (uint32_t)(first || b > a ? b : a); break;
        case WARP_MIN: all = (uint32_t)(first || b < a ? b : a); break;
        }
        first = false;
    }
    return all;
}

static void finish(Block &b, int warp)                           // all lanes have come
{
    Warp &w = b.warps[warp];
    const uint32_t lanes = w.mask & ~w.gone;
    const uint64_t all = joined(w, lanes);
    std::vector<int> waiting;
    for (int lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        if (w.op == WARP_SHUFFLE && !(lanes >> w.from[lane] & 1))
            fail("line %d: lane %d reads lane %d, which takes no part (mask %08x)", w.line, lane, w.from[lane], w.mask);
        w.found[lane] = w.op == WARP_SHUFFLE ? w.given[w.from[lane]] : all;
        if (b.threads[32 * warp + lane].state == AT_WARP) waiting.push_back(32 * warp + lane);
    }
    w.arrived = 0;
    wake(b, waiting);
}

uint64_t together(int op, uint32_t mask, uint64_t given, int from, int line)
{
    Block &b = *run.block;
    const int warp = run.thread / 32, lane = run.thread % 32;
    Warp &w = b.warps[warp];
    if (!(mask >> lane & 1)) fail("line %d: lane %d is not in the mask %08x of its own warp operation", line, lane, mask);
    if (w.arrived && (w.mask != mask || w.op != op || w.line != line))
        fail("line %d: a warp operation with mask %08x, while other lanes are at line %d with mask %08x", line, mask, w.line, w.mask);
    w.mask = mask, w.op = op, w.line = line;
    w.given[lane] = given, w.from[lane] = from;
    w.arrived |= 1u << lane;
    if ((w.mask & ~w.gone) == w.arrived) finish(b, warp);
    else stand_aside(AT_WARP);
    return w.found[lane];
}

static void gone()
{
    Block &b = *run.block;
    const int t = run.thread;
    b.threads[t] = {GONE, nullptr};
    b.left--;
    run.events++;
    Warp &w = b.warps[t / 32];
    w.gone |= 1u << t % 32;
    if (w.arrived && (w.mask & ~w.gone) == w.arrived) finish(b, t / 32);
    if (b.left && b.waiting == b.left) fail("%s at line %d is reached by some threads of the block only", what(b.op), b.line);
}

void grid_barrier(int line)
{
    if (!run.launch->cooperative) fail("line %d: a barrier of the grid in a launch that is not cooperative", line);
    run.at_grid++;
    run.events++;
    stand_aside(AT_GRID);
}

void poll(int event)                                             // where a thread may wait for one of another block
{
    run.events += event;
    if (run.launch->cooperative) stand_aside(POLLING);
    else if (!event && ++run.polls > POLLS) fail("waits for another block, in a launch that is not cooperative");
}

// ---------------------------------------------------------------- blocks

static void report_stuck(Block &b)
{
    int count[6] = {0}, line = 0;
    for (size_t t = 0; t < b.threads.size(); t++) {
        count[b.threads[t].state]++;
        if (b.threads[t].state == AT_WARP) line = b.warps[t / 32].line;
    }
    fail("%d threads wait for ever: %d at __syncthreads (line %d), %d at a warp operation (line %d), %d at the grid's barrier, %d poll",
         b.left, count[AT_BARRIER], b.line, count[AT_WARP], line, count[AT_GRID], count[POLLING]);
}

static void begin(Block &b, uint64_t number)
{
    const Place &p = *run.image->place;
    const int n = (int)(p.block_dim.x * p.block_dim.y * p.block_dim.z);
    const uint64_t x = p.grid_dim.x, y = p.grid_dim.y;
    b.index = {(unsigned)(number % x), (unsigned)(number / x % y), (unsigned)(number / (x * y))};
    b.threads.assign(n, Thread{READY, nullptr});
    b.warps.assign((n + 31) / 32, Warp{});
    if (n % 32) b.warps.back().gone = ~((1u << n % 32) - 1);
    b.ready.clear();
    for (int t = 0; t < n; t++) b.ready.push_back(run.launch->order == BACKWARD ? n - 1 - t : t);
    b.left = n, b.waiting = 0;
}

static size_t shared_size() { return (size_t)(run.image->shared_end - run.image->shared); }

static void run_one_by_one(uint64_t count)
{
    run.blocks.resize(1);
    for (uint64_t k = 0; k < count; k++) {
        Block &b = run.blocks[0];
        begin(b, run.launch->order == BACKWARD ? count - 1 - k : k);
        memset(run.image->shared, 0xff, shared_size());          // NaN
        memset(run.dynamic, 0xff, run.launch->dynamic);
        go_on(b);
        if (b.left) report_stuck(b);
    }
}

static void wake_all(Block &b, State state)
{
    std::vector<int> all;
    for (int t = 0; t < (int)b.threads.size(); t++) if (b.threads[t].state == state) all.push_back(t);
    const uint64_t events = run.events;
    wake(b, all);
    run.events = events;
}

static void turn(Block &b)                                       // of one block, on its own shared memory
{
    memcpy(run.image->shared, b.shared.data(), b.shared.size());
    memcpy(run.dynamic, b.dynamic.data(), b.dynamic.size());
    wake_all(b, POLLING);
    go_on(b);
    memcpy(b.shared.data(), run.image->shared, b.shared.size());
    memcpy(b.dynamic.data(), run.dynamic, b.dynamic.size());
}

static void run_together(uint64_t count)                         // a cooperative launch: all blocks are there at once
{
    run.blocks.resize(count);
    for (uint64_t k = 0; k < count; k++) {
        begin(run.blocks[k], k);
        run.blocks[k].shared.assign(shared_size(), (char)0xff);
        run.blocks[k].dynamic.assign(run.launch->dynamic, (char)0xff);
    }
    for (int idle = 0;;) {
        const uint64_t before = run.events;
        int left = 0;
        for (uint64_t k = 0; k < count; k++) {
            Block &b = run.blocks[run.launch->order == BACKWARD ? count - 1 - k : run.launch->order == SHUFFLED ? drawn(count) : k];
            turn(b);
        }
        for (Block &b : run.blocks) left += b.left;
        if (!left) return;
        if (run.at_grid == left && left == (int)(count * run.blocks[0].threads.size())) {
            run.at_grid = 0;
            run.events++;
            for (Block &b : run.blocks) wake_all(b, AT_GRID);
        }
        idle = run.events == before ? idle + 1 : 0;
        if (idle > ROUNDS)
            for (Block &b : run.blocks) if (b.left) report_stuck(b);
    }
}

// ---------------------------------------------------------------- a launch

static void caught(int signal, siginfo_t *info, void *)
{
    if (signal == SIGILL) fail("undefined behaviour: an index, a shift, an alignment or an overflow");
    if (signal == SIGVTALRM) fail("still running after %d seconds", SECONDS);
    if (signal == SIGFPE) fail("an integer divided by zero");
    fail("an access outside its array, at address %p", info->si_addr);
}

static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGVTALRM};

static void set_up_memory(size_t dynamic)                        // shared memory of the launch's size, up to a closed page
{
    static char *pages = nullptr;
    const size_t most = (SHARED_MOST + PAGE - 1) / PAGE * PAGE;
    if (!pages) {
        pages = (char *)mmap(nullptr, most + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(pages + most, PAGE, PROT_NONE);
    }
    run.dynamic = pages + most - (dynamic + 15) / 16 * 16;
    run.image->place->dynamic = run.dynamic;
}

static int refused(const Launch &l, char *message, size_t size)
{
    const uint64_t n = (uint64_t)l.block[0] * l.block[1] * l.block[2], most[] = {2147483647, 65535, 65535};
    for (int k = 0; k < 3; k++)
        if (l.grid[k] < 1 || l.grid[k] > most[k])
            return snprintf(message, size, "a grid of %u x %u x %u blocks", l.grid[0], l.grid[1], l.grid[2]), 1;
    if (n < 1 || n > 1024 || l.block[2] > 64)
        return snprintf(message, size, "a block of %u x %u x %u threads", l.block[0], l.block[1], l.block[2]), 1;
    if (l.dynamic + shared_size() > SHARED_MOST) return snprintf(message, size, "%zu bytes of shared memory", l.dynamic), 1;
    return 0;
}

int launch(const Image *image, const Launch *how, void **arguments, char *message, size_t size)
{
    run.image = image, run.launch = how, run.arguments = arguments, run.block = nullptr;
    run.at_grid = 0, run.events = run.polls = 0, run.random = how->seed * 0x9E3779B97F4A7C15u + 88172645463325252u;
    if (refused(*how, message, size)) return 2;
    image->place->grid_dim = {how->grid[0], how->grid[1], how->grid[2]};
    image->place->block_dim = {how->block[0], how->block[1], how->block[2]};
    set_up_memory(how->dynamic);
    static char beside[64 << 10];                                // a full stack is found, too
    stack_t other = {beside, 0, sizeof beside}, before_stack;
    sigaltstack(&other, &before_stack);
    struct sigaction act = {}, before[5];
    act.sa_sigaction = caught;
    act.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    for (int k = 0; k < 5; k++) sigaction(SIGNALS[k], &act, &before[k]);
#if defined(__x86_64__)
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040);                                   // subnormal numbers are zero, as CuPy compiles it
#endif
    const itimerval most = {{0, 0}, {SECONDS, 0}}, none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_VIRTUAL, &most, nullptr);
    const uint64_t count = (uint64_t)how->grid[0] * how->grid[1] * how->grid[2];
    const int failed = _setjmp(run.error);
    if (!failed) how->cooperative ? run_together(count) : run_one_by_one(count);
    else {
        snprintf(message, size, "%s", run.message);
        for (Fiber *fiber : run.every) {                         // stand in the middle of threads: begin again
            fiber->begun = false;
            makecontext(&fiber->start, fiber_main, 0);
        }
    }
    run.idle = run.every;
    setitimer(ITIMER_VIRTUAL, &none, nullptr);
    for (int k = 0; k < 5; k++) sigaction(SIGNALS[k], &before[k], nullptr);
    sigaltstack(&before_stack, nullptr);
#if defined(__x86_64__)
    _mm_setcsr(mode);
#endif
    return failed;
}

}  // namespace on_host
