/* Initial values, the same numbers as NumPy's Generator(Philox(key=(seed, key))): `stream_` gives its words one by one. */
typedef struct { uint64_t seed, key, at; philox_block block; } stream_;

static uint64_t next_(stream_ *s)
{
    if (s->at % 4 == 0) s->block = philox_(s->seed, s->key, s->at / 4, 0);
    return s->block.word[s->at++ % 4];
}
static void fill_(int64_t n, double value, real *w)
{
    for (int64_t i = 0; i < n; i++) w[i] = (real)value;
}
static void identity_(int64_t rows, int64_t columns, double value, real *w)
{
    for (int64_t i = 0; i < rows * columns; i++) w[i] = (real)(i / columns == i % columns ? value : 0);
}
static void uniform_values_(uint64_t seed, uint64_t key, int64_t n, double low, double high, double scale, real *w)
{
    stream_ s = {seed, key, 0, {{0, 0, 0, 0}}};
    for (int64_t i = 0; i < n; i++) w[i] = (real)((low + (high - low) * unit_(next_(&s))) * scale);
}

/* The ziggurat of a normal density (Marsaglia and Tsang 2000): 256 strips of one area, from x = R_ outwards the last one. */
#define R_ 3.6541528853610087963519472518L
typedef struct { double width[256], height[256]; uint64_t inside[256]; } strips_;

static const strips_ *ziggurat_(void)
{
    static strips_ z;
    const long double all = 4503599627370496.0L, area = R_ * expl(-R_ * R_ / 2) + sqrtl(acosl(-1) / 2) * erfcl(R_ / sqrtl(2));
    long double x = R_, last = R_, base = area / expl(-R_ * R_ / 2);
    z.inside[0] = (uint64_t)(R_ / base * all), z.inside[1] = 0;
    z.width[0] = (double)(base / all), z.width[255] = (double)(R_ / all);
    z.height[0] = 1, z.height[255] = (double)expl(-R_ * R_ / 2);
    for (int i = 254; i > 0; i--, last = x) {
        x = sqrtl(-2 * logl(area / x + expl(-x * x / 2)));
        z.inside[i + 1] = (uint64_t)(x / last * all);
        z.width[i] = (double)(x / all);
        z.height[i] = (double)expl(-x * x / 2);
    }
    return &z;
}
static double normal_value_(stream_ *s, const strips_ *z)
{
    for (;;) {
        const uint64_t word = next_(s), size = word >> 9 & 0xfffffffffffff;
        const int strip = (int)(word & 0xff);
        const double x = (double)size * z->width[strip], sign = word >> 8 & 1 ? -1 : 1;
        if (size < z->inside[strip]) return sign * x;
        if (strip == 0) {                                            /* the tail (Marsaglia 1964) */
            double far, rest;
            do {
                far = -log1p(-unit_(next_(s))) / (double)R_;
                rest = -log1p(-unit_(next_(s)));
            } while (rest + rest <= far * far);
            return size >> 8 & 1 ? -((double)R_ + far) : (double)R_ + far;
        }
        const double above = z->height[strip - 1] - z->height[strip];
        if (above * unit_(next_(s)) + z->height[strip] < exp(-x * x / 2)) return sign * x;
    }
}
static void normal_values_(uint64_t seed, uint64_t key, int64_t n, double scale, double by, real *w)
{
    const strips_ *const strips = ziggurat_();
    stream_ s = {seed, key, 0, {{0, 0, 0, 0}}};
    for (int64_t i = 0; i < n; i++) w[i] = (real)(scale * normal_value_(&s, strips) / by);
}

/* Orthonormal rows or columns (Saxe et al. 2014): q of a normal matrix z = q @ r with r's diagonal positive; Gram-Schmidt twice. */
static void orthogonal_(uint64_t seed, uint64_t key, int64_t rows, int64_t columns, double *z, real *w)
{
    const int64_t high = rows > columns ? rows : columns, wide = rows > columns ? columns : rows;
    const strips_ *const strips = ziggurat_();
    stream_ s = {seed, key, 0, {{0, 0, 0, 0}}};
    for (int64_t i = 0; i < high * wide; i++) z[i] = normal_value_(&s, strips);
    for (int64_t j = 0; j < wide; j++) {
        double norm = 0;
        for (int64_t l = 0; l < 2 * j; l++) {
            double along = 0;
            for (int64_t i = 0; i < high; i++) along += z[i * wide + l % j] * z[i * wide + j];
            for (int64_t i = 0; i < high; i++) z[i * wide + j] -= along * z[i * wide + l % j];
        }
        for (int64_t i = 0; i < high; i++) norm += z[i * wide + j] * z[i * wide + j];
        for (int64_t i = 0; i < high; i++) z[i * wide + j] /= sqrt(norm);
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            w[i * columns + j] = (real)(rows >= columns ? z[i * wide + j] : z[j * wide + i]);
}
