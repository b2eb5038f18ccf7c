/* What an update does beside the optimiser's rule: each works on the numbers from one up to another. */
static inline double squares_(int64_t from, int64_t to, const real *g) {
    double total = 0;
    for (int64_t i = from; i < to; i++) total += (double)g[i] * (double)g[i];
    return total;
}
static inline void scale_(int64_t from, int64_t to, real *w, double by) {
    for (int64_t i = from; i < to; i++) w[i] *= (real)by;
}
static inline void clip_(int64_t from, int64_t to, real *g, double bound) {
    const real most = (real)bound;
    for (int64_t i = from; i < to; i++) g[i] = g[i] < -most ? -most : g[i] > most ? most : g[i];
}
static inline void assign_(int64_t from, int64_t to, real *w, const real *value) {
    for (int64_t i = from; i < to; i++) w[i] = value[i];
}
static inline void average_(int64_t from, int64_t to, real *w, const real *value, double count) {
    for (int64_t i = from; i < to; i++) w[i] += (value[i] - w[i]) / (real)count;
}
static inline void decay_l1_(int64_t from, int64_t to, real *w, double amount) {
    for (int64_t i = from; i < to; i++) w[i] -= (real)amount * (real)((w[i] > 0) - (w[i] < 0));
}
static inline void limit_norms_(int64_t from, int64_t to, int64_t n, real *w, double bound) {      /* max-norm, row by row */
    for (int64_t r = from; r < to; r++) {
        const double norm = sqrt(squares_(0, n, w + r * n));
        if (norm > bound) scale_(0, n, w + r * n, bound / norm);
    }
}
static inline void project_l1_(int64_t n, real *w, double bound) {      /* the nearest w with sum(|w|) <= bound (Michelot 1986) */
    double excess = 0, above = 0;
    int64_t count = n, before = n + 1;
    for (int64_t i = 0; i < n; i++) above += fabs((double)w[i]);
    if (!(above > bound)) return;
    while (count < before) {                                     /* what is not above the excess is set to zero, and does not count */
        excess = (above - bound) / (double)count;
        before = count, count = 0, above = 0;
        for (int64_t i = 0; i < n; i++)
            if (fabs((double)w[i]) > excess) above += fabs((double)w[i]), count++;
    }
    for (int64_t i = 0; i < n; i++) {
        const double size = fabs((double)w[i]) - excess;
        w[i] = (real)(size <= 0 ? 0 : w[i] > 0 ? size : -size);
    }
}
static inline int outside_(int64_t n, const int64_t *index, int64_t count) {           /* whether an index is not in 0 ... count - 1 */
    int found = 0;
    for (int64_t i = 0; i < n; i++) found |= (index[i] < 0) | (index[i] >= count);
    return found;
}
static inline int no_value_(int64_t n, const real *x, real other) {                     /* whether one is neither 1 nor the other */
    int found = 0;
    for (int64_t i = 0; i < n; i++) found |= (x[i] != 1) & (x[i] != other);
    return found;
}
static inline int no_mean_(int64_t n, const real *x) {                                  /* whether one is not in 0 ... 1 */
    int found = 0;
    for (int64_t i = 0; i < n; i++) found |= !((x[i] >= 0) & (x[i] <= 1));
    return found;
}
static inline int no_choice_(int64_t rows, int64_t n, const real *x) {                  /* whether a row is not a 1 among 0s */
    int found = no_value_(rows * n, x, 0);
    for (int64_t r = 0; r < rows; r++) {
        int64_t ones = 0;
        for (int64_t i = 0; i < n; i++) ones += x[r * n + i] == 1;
        found |= ones != 1;
    }
    return found;
}
