/* Threads. Every thread of a team runs the whole of a function, and in each loop over rows its share of them: from FROM(n) up to
   TO(n). `meet` is where all wait for all, before one reads what another has written. What ALONE stands before, the first thread
   does for all.

   The threads are started when they are first needed. After its work, one spins until the next step has probably come, then it
   sleeps: waking one takes as long as some megaflops. Of several libraries, the threads of that which had work last spin. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST_THREADS = 64, PIECES = 16, STACK = 8 << 20 };
enum { PATIENCE = 1000, DOZE = 5000 };                   /* pauses, of some 40 ns: before others may run, before a thread sleeps */
#ifndef WORTH
#define WORTH 4e6                                        /* operations, about 150 us: what a second thread saves of less is not sure */
#endif

typedef struct {
    int many;
    double sum[PIECES];                                  /* of a sum that is added up in the same pieces whoever adds */
    _Alignas(64) atomic_int waiting;
    _Alignas(64) atomic_int phase;
} team;
typedef void section(team *us, int me, void *const *array, const int64_t *number, const double *option);

static struct {
    pthread_mutex_t busy, lock;                          /* busy: held by whose work is done; lock: of `turn`, for those asleep */
    pthread_cond_t given;
    atomic_int_least64_t turn;                           /* MOST_THREADS times how much work was given, plus helpers wanted */
    atomic_int unfinished, asleep;
    int started, wanted;
    section *work;
    void *const *array;
    const int64_t *number;
    const double *option;
    team us;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .given = PTHREAD_COND_INITIALIZER, .wanted = 1};

static atomic_int_least64_t own_, *latest = &own_;       /* whose threads may spin: the address of its pool */

static inline void pause_(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static APART void meet_(team *us)
{
    if (us->many == 1) return;
    const int phase = atomic_load_explicit(&us->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&us->waiting, 1, memory_order_acq_rel) == us->many - 1) {
        atomic_store_explicit(&us->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&us->phase, phase + 1, memory_order_release);
        return;
    }
    for (int k = 0; atomic_load_explicit(&us->phase, memory_order_acquire) == phase; k++)
        if (k < PATIENCE) pause_();
        else sched_yield();                              /* there are more threads than processors */
}
#define meet() meet_(us)

/* Where share k begins: of much, in groups of 16, as elements that stand beside each other in memory share its lines; of little,
   in pairs, as a product of one row is added up in another order than one of several. */
static APART int64_t share_(int64_t n, int64_t k, int64_t many)
{
    const int64_t group = n < 64 * many ? 2 : 16, at = (n / group * k + many - 1) / many * group;
    return k == 0 ? 0 : k == many || n - at < 2 ? n : at;
}
#define FROM(n) share_(n, me, us->many)
#define TO(n) share_(n, me + 1, us->many)
#define ALONE if (me == 0)

static inline double added_(const team *us)
{
    double total = 0;
    for (int k = 0; k < PIECES; k++) total += us->sum[k];
    return total;
}

/* A product of matrices by rows of the result, or by columns. */
#define gemm_rows(ta, tb, m, n, k, a, lda, b, ldb, c, ldc) do { \
    const int64_t from_ = FROM(m), count_ = TO(m) - from_; \
    if (count_ > 0) gemm(ta, tb, count_, n, k, (a) + from_ * ((ta) == TURNED ? 1 : (lda)), lda, b, ldb, (c) + from_ * (ldc), ldc); \
} while (0)
#define gemm_columns(ta, tb, m, n, k, a, lda, b, ldb, c, ldc) do { \
    const int64_t from_ = FROM(n), count_ = TO(n) - from_; \
    if (count_ > 0) columns_(from_, count_, ta, tb, m, k, a, lda, b, ldb, c, ldc); \
} while (0)

static void *helper_(void *place)
{
    const int me = (int)(intptr_t)place;
    int64_t seen = 0;
    for (;;) {
        int64_t turn;
        for (int k = 0; (turn = atomic_load_explicit(&pool.turn, memory_order_acquire)) == seen; k++) {
            if (k < DOZE && atomic_load_explicit(latest, memory_order_relaxed) == (intptr_t)&pool) {
                pause_();
                continue;
            }
            pthread_mutex_lock(&pool.lock);
            atomic_fetch_add(&pool.asleep, 1);
            while (atomic_load(&pool.turn) == seen) pthread_cond_wait(&pool.given, &pool.lock);
            atomic_fetch_sub(&pool.asleep, 1);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = turn;
        if (me > turn % MOST_THREADS) continue;          /* not wanted this time */
        pool.work(&pool.us, me, pool.array, pool.number, pool.option);
        atomic_fetch_sub_explicit(&pool.unfinished, 1, memory_order_release);
    }
    return 0;
}

/* In the child of a fork there are no helpers, and nobody works. */
static void after_fork_(void)
{
    pthread_mutex_init(&pool.busy, 0);
    pthread_mutex_init(&pool.lock, 0);
    pthread_cond_init(&pool.given, 0);
    pool.started = 0;
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.us.waiting, 0);
    atomic_store(&pool.turn, 0);
}

/* Start helpers until there are `many`, or as many as the system lets there be. Their stacks are as large as a first thread's: rows
   of arrays stand on them, and some systems would give 128 KB. */
static void start_(int many)
{
    pthread_attr_t kind;
    if (pthread_attr_init(&kind) != 0) return;
    pthread_attr_setstacksize(&kind, STACK);
    pthread_attr_setdetachstate(&kind, PTHREAD_CREATE_DETACHED);
    for (pthread_t thread; pool.started < many; pool.started++)
        if (pthread_create(&thread, &kind, helper_, (void *)(intptr_t)(pool.started + 1)) != 0) break;
    pthread_attr_destroy(&kind);
}

/* How many of the helpers that a team of `many` wants are there. */
static int helpers_(int many)
{
    static atomic_flag once = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&once)) pthread_atfork(0, 0, after_fork_);
    if (pool.started < many - 1) start_(many - 1);
    return pool.started < many - 1 ? pool.started : many - 1;
}

/* Run a function: by a team where its `cost`, in floating-point operations, pays for waking one, and nobody else has it. */
static void in_parallel(section *work, double cost, void *const *array, const int64_t *number, const double *option)
{
    if (pthread_mutex_trylock(&pool.busy) != 0) {
        work(&(team){.many = 1}, 0, array, number, option);
        return;
    }
    const int helpers = cost < WORTH || pool.wanted == 1 ? 0 : helpers_(pool.wanted);
    pool.us.many = helpers + 1;
    if (helpers > 0) {
        pool.work = work, pool.array = array, pool.number = number, pool.option = option;
        if (atomic_load_explicit(latest, memory_order_relaxed) != (intptr_t)&pool) atomic_store(latest, (intptr_t)&pool);
        atomic_store(&pool.unfinished, helpers);
        const int64_t given = atomic_load(&pool.turn) / MOST_THREADS + 1;
        atomic_store(&pool.turn, given * MOST_THREADS + helpers);
        if (atomic_load(&pool.asleep) > 0) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_broadcast(&pool.given);
            pthread_mutex_unlock(&pool.lock);
        }
    }
    work(&pool.us, 0, array, number, option);
    for (int k = 0; helpers > 0 && atomic_load_explicit(&pool.unfinished, memory_order_acquire) > 0; k++)
        if (k < PATIENCE) pause_();
        else sched_yield();
    pthread_mutex_unlock(&pool.busy);
}

/* From now on, so many threads. `shared`: the word that all libraries of the process look at; the first one gives its own. */
void *use_threads(int64_t many, void *shared)
{
    pthread_mutex_lock(&pool.busy);
    pool.wanted = (int)(many < MOST_THREADS ? many : MOST_THREADS);
    if (shared && pool.started == 0) latest = shared;
    pthread_mutex_unlock(&pool.busy);
    return (void *)latest;
}
