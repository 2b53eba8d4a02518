/* Attention in bfloat16 or float32 and its gradients, on CPUs with AVX-512; see avx512.h.

Compiled and called by compiled_attention.py. A thread computes a head of a picture at a time, and
for each few queries all scores, their softmax and its product with the values; only the last is
written to memory. The backward pass computes the weights again, for QUERIES queries and KEYS keys
at a time, and adds what they give to all three gradients. Sums are in float32.

Reference:
    Dao et al. 2022, FlashAttention, arXiv:2205.14135. */

#include <math.h>
#include <stdlib.h>

#include "avx512.h"

#define MAX_WIDTH 256   /* of a head */
#define QUERIES COLUMNS /* of a block whose gradients are computed at a time */
#define KEYS 128        /* of such a block */

typedef struct {
    int32_t batch;     /* B */
    int32_t heads;     /* H */
    int32_t width;     /* of a head, C */
    int32_t is_causal; /* whether query i attends only to keys up to i */
    int32_t threads;   /* at most */
    float epsilon;     /* of norms */
} Sizes;

/* (B, H, count, C) numbers, whose channels are adjacent; with a gain, rows get an RMSNorm, and
with a rope they are then rotated. */
typedef struct {
    Number *numbers;
    int64_t batch, head, row; /* strides */
    int32_t count;
    const float *gain; /* (C), or NULL */
    const float *rope; /* (2, count, C), or NULL */
} Rows;

/* The rows of a head in the layouts that products need, padded with zeros. */
typedef struct {
    Number *rows;      /* (L, W) */
    uint32_t *columns; /* (L / 16, W / G, 16) groups of G channels, for products over channels */
    uint32_t *groups;  /* (L / G, W) groups of G rows, for products over rows */
} Packed;

/* Scores of a query and a key are multiplied by `scale`; (L) padded. */
typedef struct {
    const float *bias; /* of keys, or NULL */
    const float *sums; /* of queries: log2 of the sum of exponentials */
    const float *dots; /* of queries: products of the output and its gradient */
    float scale;       /* log2(e) / sqrt(C) */
} Softmax;

/* Row n of a head. The row ROWS further is prefetched, since rows are far apart in memory. */
static Number *row_of(const Rows *rows, int item, const Sizes *sizes, int n) {
    int heads = sizes->heads;
    Number *row =
        rows->numbers + item / heads * rows->batch + item % heads * rows->head + n * rows->row;
    if (n + ROWS < rows->count)
        for (int c = 0; c < sizes->width; c += 64 / (int)sizeof(Number))
            __builtin_prefetch(row + ROWS * rows->row + c);
    return row;
}

/* x cos + other sin, for the `half` channels of a row from `to`, and the others of their pairs. */
INLINE Floats rotated(const float *row, int to, int other, int c, const float *cos,
                      const float *sin, int sin_at, __mmask16 seen) {
    Floats x = _mm512_maskz_loadu_ps(seen, row + to + c);
    Floats y = _mm512_maskz_loadu_ps(seen, row + other + c);
    x = _mm512_mul_ps(x, _mm512_maskz_loadu_ps(seen, cos + to + c));
    return _mm512_fmadd_ps(y, _mm512_maskz_loadu_ps(seen, sin + sin_at + c), x);
}

/* Copy the rows of a head, normalised and rotated, to (L, W). */
static void read_rows(Number *out, const Rows *rows, int item, int first, int count, int length,
                      int width, const Sizes *sizes) {
    int channels = sizes->width, half = channels / 2;
    memset(out, 0, sizeof(Number) * length * width);
    for (int n = 0; n < count; n++, out += width) {
        const Number *in = row_of(rows, item, sizes, first + n);
        if (rows->gain == NULL) {
            memcpy(out, in, sizeof(Number) * channels);
            continue;
        }
        float normal[MAX_WIDTH];
        Floats scale = all(norm_scale(in, sizes->width, sizes->epsilon));
        for (int c = 0; c < channels; c += LANES) {
            __mmask16 seen = lanes(channels - c);
            Floats gain = _mm512_maskz_loadu_ps(seen, rows->gain + c);
            Floats x = _mm512_mul_ps(_mm512_mul_ps(load(in + c, seen), scale), gain);
            if (rows->rope == NULL) store(out + c, seen, x);
            else _mm512_mask_storeu_ps(normal + c, seen, x);
        }
        if (rows->rope == NULL) continue;
        const float *cos = rows->rope + (size_t)(first + n) * channels;
        const float *sin = cos + (size_t)rows->count * channels;
        for (int c = 0; c < half; c += LANES) {
            __mmask16 seen = lanes(half - c);
            store(out + c, seen, rotated(normal, 0, half, c, cos, sin, 0, seen));
            store(out + half + c, seen, rotated(normal, half, 0, c, cos, sin, half, seen));
        }
    }
}

/* Write the gradient of a row of a head, given that of the row that `read_rows` returns. */
static void write_gradient(const Rows *out, const Rows *rows, float *for_gain,
                           const float *gradient, int item, int n, const Sizes *sizes) {
    int channels = sizes->width, half = channels / 2;
    Number *to = row_of(out, item, sizes, n);
    if (rows->gain == NULL) {
        for (int c = 0; c < channels; c += LANES)
            store(to + c, lanes(channels - c), _mm512_loadu_ps(gradient + c));
        return;
    }
    float above[MAX_WIDTH];
    if (rows->rope != NULL) {
        const float *cos = rows->rope + (size_t)n * channels;
        const float *sin = cos + (size_t)rows->count * channels;
        for (int c = 0; c < half; c += LANES) {
            __mmask16 seen = lanes(half - c);
            _mm512_mask_storeu_ps(above + c, seen,
                                  rotated(gradient, 0, half, c, cos, sin, half, seen));
            _mm512_mask_storeu_ps(above + half + c, seen,
                                  rotated(gradient, half, 0, c, cos, sin, 0, seen));
        }
        gradient = above;
    }
    const Number *in = row_of(rows, item, sizes, n);
    Floats scale = all(norm_scale(in, sizes->width, sizes->epsilon)), sum = all(0);
    for (int c = 0; c < channels; c += LANES) {
        __mmask16 seen = lanes(channels - c);
        Floats unit = _mm512_mul_ps(load(in + c, seen), scale);
        Floats product = _mm512_mul_ps(_mm512_maskz_loadu_ps(seen, gradient + c), unit);
        Floats so_far = _mm512_maskz_loadu_ps(seen, for_gain + c);
        _mm512_mask_storeu_ps(for_gain + c, seen, _mm512_add_ps(so_far, product));
        sum = _mm512_fmadd_ps(product, _mm512_maskz_loadu_ps(seen, rows->gain + c), sum);
    }
    Floats along = all(_mm512_reduce_add_ps(sum) / channels);
    for (int c = 0; c < channels; c += LANES) {
        __mmask16 seen = lanes(channels - c);
        Floats unit = _mm512_mul_ps(load(in + c, seen), scale);
        Floats x = _mm512_mul_ps(_mm512_maskz_loadu_ps(seen, gradient + c),
                                 _mm512_maskz_loadu_ps(seen, rows->gain + c));
        store(to + c, seen, _mm512_mul_ps(_mm512_fnmadd_ps(unit, along, x), scale));
    }
}

/* Read all rows of a head, and pack them where `packed` has memory for it. */
static void pack(Packed packed, const Rows *rows, int item, int width, const Sizes *sizes) {
    int length = padded(rows->count, COLUMNS);
    read_rows(packed.rows, rows, item, 0, rows->count, length, width, sizes);
    if (packed.columns != NULL) pack_columns(packed.columns, packed.rows, length, width);
    if (packed.groups != NULL && GROUP > 1) /* otherwise they are the rows */
        pack_groups(packed.groups, packed.rows, width, length, width);
}

/* The products of ROWS rows of (L, W) with columns k to k + COLUMNS - 1. */
INLINE void scores(Floats sums[ROWS][2], const Number *rows, const uint32_t *columns, int k,
                   int width, int channels) {
    int groups = width / GROUP;
    tile(sums, (const uint32_t *)rows, groups, padded(channels, GROUP) / GROUP,
         columns + (size_t)k * groups, LANES, LANES * groups);
}

/* out (ROWS, W) = factors (ROWS) times the first `until` columns of ROWS weights, times rows, given
as groups. */
INLINE void mix(float *out, const Number *weights, size_t stride, int until,
                const uint32_t *groups, int width, const float factors[ROWS]) {
    for (int c = 0; c < width; c += COLUMNS) {
        Floats sums[ROWS][2];
        tile(sums, (const uint32_t *)weights, stride / GROUP, until / GROUP, groups + c, width,
             LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            Floats factor = all(factors[r]);
            _mm512_storeu_ps(out + r * width + c, _mm512_mul_ps(sums[r][0], factor));
            _mm512_storeu_ps(out + r * width + c + LANES, _mm512_mul_ps(sums[r][1], factor));
        }
    }
}

/* Memory that is handed out in parts. If `begin` is NULL, nothing is handed out, and `used` counts
the bytes needed. */
typedef struct {
    char *begin;
    size_t used;
} Memory;

static void *taken(Memory *memory, size_t bytes) {
    char *part = memory->begin == NULL ? NULL : memory->begin + memory->used;
    memory->used += (bytes + 63) / 64 * 64;
    return part;
}

static Packed take_packed(Memory *memory, int length, int width, int has_columns, int has_groups) {
    size_t bytes = sizeof(Number) * length * width;
    Packed packed = {taken(memory, bytes), NULL, NULL};
    if (has_columns) packed.columns = taken(memory, bytes);
    if (has_groups) packed.groups = GROUP == 1 ? (uint32_t *)packed.rows : taken(memory, bytes);
    return packed;
}

/* Memory of a thread for a head; (L, W) is padded with zeros. */
typedef struct {
    Packed key, value;
    float *scores;   /* (ROWS, L) */
    Number *weights; /* (ROWS, L) */
    float *mixed;    /* (ROWS, W) */
    Number *query;   /* (ROWS, W) */
} ForwardWork;

static ForwardWork take_forward(Memory *memory, int keys, int width) {
    ForwardWork work;
    work.key = take_packed(memory, keys, width, 1, 0);
    work.value = take_packed(memory, keys, width, 0, 1);
    work.scores = taken(memory, sizeof(float) * ROWS * keys);
    work.weights = taken(memory, sizeof(Number) * ROWS * keys);
    work.mixed = taken(memory, sizeof(float) * ROWS * width);
    work.query = taken(memory, sizeof(Number) * ROWS * width);
    return work;
}

/* work->mixed = the attention of the ROWS queries in `work`, from `row`, to keys before `until`;
sums (ROWS) as in `attend`, or NULL. */
INLINE void attend_tile(const ForwardWork *work, float *sums, Softmax softmax, int row, int until,
                        int num_keys, int width, const Sizes *sizes) {
    size_t stride = padded(num_keys, COLUMNS);
    Floats most[ROWS];
    for (int r = 0; r < ROWS; r++) most[r] = all(-INFINITY);
    for (int k = 0; k < until; k += COLUMNS) {
        Floats found[ROWS][2];
        scores(found, work->query, work->key.columns, k, width, sizes->width);
        int is_edge = k + COLUMNS > num_keys || (sizes->is_causal && k + COLUMNS > row);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                int at = k + j * LANES;
                Floats x = found[r][j];
                if (softmax.bias != NULL) x = _mm512_add_ps(x, _mm512_loadu_ps(softmax.bias + at));
                if (is_edge) {
                    int last = sizes->is_causal ? least(row + r + 1, num_keys) : num_keys;
                    x = _mm512_mask_blend_ps(lanes(last - at), all(-INFINITY), x);
                }
                _mm512_storeu_ps(work->scores + r * stride + at, x);
                most[r] = _mm512_max_ps(most[r], x);
            }
    }
    float factors[ROWS];
    for (int r = 0; r < ROWS; r++) {
        float top = _mm512_reduce_max_ps(most[r]) * softmax.scale;
        Floats shift = all(-top), scale = all(softmax.scale);
        Floats left_sum = all(0), right_sum = left_sum;
        const float *own = work->scores + r * stride;
        for (int k = 0; k < until; k += COLUMNS) {
            Floats left = power(_mm512_fmadd_ps(_mm512_loadu_ps(own + k), scale, shift));
            Floats right = power(_mm512_fmadd_ps(_mm512_loadu_ps(own + k + LANES), scale, shift));
            left_sum = _mm512_add_ps(left_sum, left), right_sum = _mm512_add_ps(right_sum, right);
            store_two(work->weights + r * stride + k, left, right);
        }
        float sum = _mm512_reduce_add_ps(_mm512_add_ps(left_sum, right_sum));
        factors[r] = 1 / sum;
        if (sums != NULL) sums[r] = top + log2f(sum);
    }
    mix(work->mixed, work->weights, stride, until, work->value.groups, width, factors);
}

/* out (ROWS, W) += weights times rows, given as `count` groups. Group p of row r of the weights is
weights[r * row_stride + p * step]. */
INLINE void add_mix(float *out, const uint32_t *weights, size_t row_stride, size_t step, int count,
                    const uint32_t *groups, int width) {
    for (int c = 0; c < width; c += COLUMNS) {
        Floats sums[ROWS][2];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            sums[r][0] = _mm512_loadu_ps(out + r * width + c);
            sums[r][1] = _mm512_loadu_ps(out + r * width + c + LANES);
        }
        add_tile(sums, weights, row_stride, step, count, groups + c, width, LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            _mm512_storeu_ps(out + r * width + c, sums[r][0]);
            _mm512_storeu_ps(out + r * width + c + LANES, sums[r][1]);
        }
    }
}

/* weights = the softmax of the scores of ROWS queries from `row`, and gradients = those of the
scores, for keys `first` to `until` - 1; both as groups of queries, the gradients also as rows. */
INLINE void tile_gradients(Packed weights, Packed gradients, const Number *queries,
                           const Number *for_out, Packed keys, Packed values, Softmax softmax,
                           int row, int first, int until, int num_keys, int width,
                           const Sizes *sizes) {
    Floats scale = all(softmax.scale);
    for (int k = first; k < until; k += COLUMNS) {
        Floats found[ROWS][2], own[ROWS][2];
        scores(found, queries, keys.columns, k, width, sizes->width);
        int is_edge = k + COLUMNS > num_keys || (sizes->is_causal && k + COLUMNS > row);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                int at = k + j * LANES;
                Floats x = found[r][j];
                if (softmax.bias != NULL) x = _mm512_add_ps(x, _mm512_loadu_ps(softmax.bias + at));
                x = power(_mm512_fmsub_ps(x, scale, all(softmax.sums[row + r])));
                if (is_edge) {
                    int last = sizes->is_causal ? least(row + r + 1, num_keys) : num_keys;
                    x = _mm512_maskz_mov_ps(lanes(last - at), x);
                }
                own[r][j] = x;
            }
        scores(found, for_out, values.columns, k, width, sizes->width);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            Floats dots = all(softmax.dots[row + r]);
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++)
                found[r][j] = _mm512_mul_ps(own[r][j], _mm512_sub_ps(found[r][j], dots));
            if (GROUP > 1)
                store_two(gradients.rows + r * KEYS + k - first, found[r][0], found[r][1]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r += GROUP) {
            store_groups(weights.groups + r / GROUP * KEYS + k - first, own + r);
            store_groups(gradients.groups + r / GROUP * KEYS + k - first, found + r);
        }
    }
}

/* The number of keys up to the last without a bias of -infinity. */
static int seen_keys(const float *bias, int count) {
    while (bias != NULL && count > 0 && bias[count - 1] == -INFINITY) count--;
    return count;
}

/* out (B, H, N, C) = attention; sums (B, H, N) = log2 of the sum of exponentials of a query's
scores, or NULL; bias (B, L padded to COLUMNS), or NULL. Returns 0, or 1 if memory is lacking. */
int attend(const Sizes *sizes, const Rows *query, const Rows *key, const Rows *value,
           const Rows *out, const float *bias, float *sums) {
    int width = padded(sizes->width, COLUMNS), items = sizes->batch * sizes->heads;
    int keys = padded(key->count, COLUMNS), is_lacking = 0;
    Memory needed = {NULL, 0};
    take_forward(&needed, keys, width);
#pragma omp parallel num_threads(sizes->threads) reduction(| : is_lacking)
    {
        Memory memory = {aligned_alloc(64, needed.used), 0};
        ForwardWork work = take_forward(&memory, keys, width);
        is_lacking |= memory.begin == NULL;
#pragma omp for schedule(dynamic)
        for (int item = 0; item < items; item++) {
            if (memory.begin == NULL) continue;
            const float *own_bias = bias ? bias + (size_t)(item / sizes->heads) * keys : NULL;
            Softmax softmax = {own_bias, NULL, NULL, LOG2_E / sqrtf((float)sizes->width)};
            int num_keys = seen_keys(own_bias, key->count);
            pack(work.key, key, item, width, sizes);
            pack(work.value, value, item, width, sizes);
            for (int n = 0; n < query->count; n += ROWS) {
                int count = least(ROWS, query->count - n);
                int seen = sizes->is_causal ? least(n + count, num_keys) : num_keys;
                float found[ROWS];
                read_rows(work.query, query, item, n, count, ROWS, width, sizes);
                attend_tile(&work, sums ? found : NULL, softmax, n, padded(seen, COLUMNS),
                            num_keys, width, sizes);
                if (sums != NULL)
                    memcpy(sums + (size_t)item * query->count + n, found, sizeof(float) * count);
                for (int r = 0; r < count; r++)
                    write_gradient(out, out, NULL, work.mixed + r * width, item, n + r, sizes);
            }
        }
        free(memory.begin);
    }
    return is_lacking;
}

/* Write the gradients of a head's rows: `factor` times sums (L, W), which are changed. */
static void write_gradients(const Rows *out, const Rows *rows, float *for_gain, float *sums,
                            float factor, int item, int width, const Sizes *sizes) {
    for (int n = 0; n < rows->count; n++, sums += width) {
        for (int c = 0; c < width; c++) sums[c] *= factor;
        write_gradient(out, rows, for_gain, sums, item, n, sizes);
    }
}

/* dots (L) = the products of the output's rows and their gradients, of a head. */
static void dot_rows(float *dots, const Rows *out, const Number *for_out, int item, int width,
                     const Sizes *sizes) {
    for (int n = 0; n < out->count; n++, for_out += width) {
        const Number *row = row_of(out, item, sizes, n);
        Floats sum = all(0);
        for (int c = 0; c < sizes->width; c += LANES) {
            __mmask16 seen = lanes(sizes->width - c);
            sum = _mm512_fmadd_ps(load(row + c, seen), load(for_out + c, seen), sum);
        }
        dots[n] = _mm512_reduce_add_ps(sum);
    }
}

/* Memory of a thread for the gradients of a head; (L, W) is padded with zeros. */
typedef struct {
    Packed query, key, value, for_out;
    Packed weights, gradients;              /* (QUERIES, KEYS) */
    float *for_query, *for_key, *for_value; /* (L, W) */
    float *sums, *dots;                     /* (L), as in Softmax */
} BackwardWork;

static BackwardWork take_backward(Memory *memory, int queries, int keys, int width) {
    BackwardWork work;
    work.query = take_packed(memory, queries, width, 0, 1);
    work.key = take_packed(memory, keys, width, 1, 1);
    work.value = take_packed(memory, keys, width, 1, 0);
    work.for_out = take_packed(memory, queries, width, 0, 1);
    work.weights = take_packed(memory, QUERIES, KEYS, 0, 1);
    work.gradients = take_packed(memory, QUERIES, KEYS, 0, 1);
    work.for_query = taken(memory, sizeof(float) * queries * width);
    work.for_key = taken(memory, sizeof(float) * keys * width);
    work.for_value = taken(memory, sizeof(float) * keys * width);
    work.sums = taken(memory, sizeof(float) * queries);
    work.dots = taken(memory, sizeof(float) * queries);
    return work;
}

/* Add to the gradients of queries `row` to `last` - 1, and of keys `first` to `until` - 1, what
they get from each other. */
static void add_gradients(const BackwardWork *work, Softmax softmax, int row, int last, int first,
                          int until, int num_keys, int width, const Sizes *sizes) {
    size_t groups = (size_t)first / GROUP * width, row_groups = (size_t)row / GROUP * width;
    if (sizes->is_causal) until = least(until, last);
    for (int n = row; n < last; n += ROWS) {
        size_t at = (size_t)n * width, begin = (size_t)(n - row) * KEYS;
        Packed weights = {NULL, NULL, work->weights.groups + begin / GROUP};
        Packed gradients = {work->gradients.rows + begin, NULL,
                            work->gradients.groups + begin / GROUP};
        tile_gradients(weights, gradients, work->query.rows + at, work->for_out.rows + at,
                       work->key, work->value, softmax, n, first, until, num_keys, width, sizes);
        add_mix(work->for_query + at, (const uint32_t *)gradients.rows, KEYS / GROUP, 1,
                (until - first) / GROUP, work->key.groups + groups, width);
    }
    for (int k = first; k < until; k += ROWS) {
        size_t at = (size_t)k * width;
        add_mix(work->for_key + at, work->gradients.groups + k - first, 1, KEYS,
                (last - row) / GROUP, work->query.groups + row_groups, width);
        add_mix(work->for_value + at, work->weights.groups + k - first, 1, KEYS,
                (last - row) / GROUP, work->for_out.groups + row_groups, width);
    }
}

/* The gradients of query, key and value, each (B, H, L, C), given that of `out`; and of the gains,
(B, H, C) each, to be summed over pictures and heads. Arguments and result are those of `attend`. */
int attend_backward(const Sizes *sizes, const Rows *query, const Rows *key, const Rows *value,
                    const Rows *out, const Rows *for_out, const float *bias, const float *sums,
                    const Rows *for_query, const Rows *for_key, const Rows *for_value,
                    float *for_query_gain, float *for_key_gain) {
    int width = padded(sizes->width, COLUMNS), items = sizes->batch * sizes->heads;
    int keys = padded(key->count, COLUMNS), queries = padded(query->count, COLUMNS);
    int is_lacking = 0;
    Memory needed = {NULL, 0};
    take_backward(&needed, queries, keys, width);
#pragma omp parallel num_threads(sizes->threads) reduction(| : is_lacking)
    {
        Memory memory = {aligned_alloc(64, needed.used), 0};
        BackwardWork work = take_backward(&memory, queries, keys, width);
        is_lacking |= memory.begin == NULL;
#pragma omp for schedule(dynamic)
        for (int item = 0; item < items; item++) {
            if (memory.begin == NULL) continue;
            const float *own_bias = bias ? bias + (size_t)(item / sizes->heads) * keys : NULL;
            float factor = 1 / sqrtf((float)sizes->width);
            Softmax softmax = {own_bias, work.sums, work.dots, LOG2_E * factor};
            int num_keys = seen_keys(own_bias, key->count), end = padded(num_keys, COLUMNS);
            float *query_gain = for_query_gain + (size_t)item * sizes->width;
            float *key_gain = for_key_gain + (size_t)item * sizes->width;
            pack(work.query, query, item, width, sizes), pack(work.key, key, item, width, sizes);
            pack(work.value, value, item, width, sizes);
            pack(work.for_out, for_out, item, width, sizes);
            memset(work.for_query, 0, sizeof(float) * queries * width);
            memset(work.for_key, 0, sizeof(float) * keys * width);
            memset(work.for_value, 0, sizeof(float) * keys * width);
            memset(work.sums, 0, sizeof(float) * queries);
            memset(work.dots, 0, sizeof(float) * queries);
            memset(query_gain, 0, sizeof(float) * sizes->width);
            memset(key_gain, 0, sizeof(float) * sizes->width);
            memcpy(work.sums, sums + (size_t)item * query->count, sizeof(float) * query->count);
            dot_rows(work.dots, out, work.for_out.rows, item, width, sizes);
            for (int k = 0; k < end; k += KEYS)
                for (int n = sizes->is_causal ? k : 0; n < query->count; n += QUERIES)
                    add_gradients(&work, softmax, n, least(n + QUERIES, queries), k,
                                  least(k + KEYS, end), num_keys, width, sizes);
            write_gradients(for_query, query, query_gain, work.for_query, factor, item, width,
                            sizes);
            write_gradients(for_key, key, key_gain, work.for_key, factor, item, width, sizes);
            write_gradients(for_value, value, NULL, work.for_value, 1, item, width, sizes);
        }
        free(memory.begin);
    }
    return is_lacking;
}
