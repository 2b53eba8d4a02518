/* Attention in bfloat16 or float32 and its gradients, on CPUs with AVX-512; see avx512.h.

Compiled and called by compiled_attention.py. A thread computes a head of a picture at a time, and
for each few queries all scores, their softmax and its product with the values; only the last is
written to memory. Sums are in float32.

Reference:
    Dao et al. 2022, FlashAttention, arXiv:2205.14135. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "avx512.h"

#define MAX_WIDTH 256 /* of a head */

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

static Number *row_of(const Rows *rows, int item, int heads, int n) {
    return rows->numbers + item / heads * rows->batch + item % heads * rows->head + n * rows->row;
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
        const Number *in = row_of(rows, item, sizes->heads, first + n);
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
    Number *to = row_of(out, item, sizes->heads, n);
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
    const Number *in = row_of(rows, item, sizes->heads, n);
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

static void pack_columns(uint32_t *out, const Number *rows, int length, int width) {
    int groups = width / GROUP;
    for (int block = 0; block < length / LANES; block++, out += LANES * groups)
        for (int lane = 0; lane < LANES; lane++, rows += width)
            for (int group = 0; group < groups; group++)
                memcpy(out + group * LANES + lane, rows + GROUP * group, 4);
}

static void pack_groups(uint32_t *out, const Number *rows, int length, int width) {
    for (int group = 0; group < length / GROUP; group++, rows += GROUP * width, out += width)
        for (int c = 0; c < width; c++) {
#ifdef FLOAT32
            memcpy(out + c, rows + c, 4);
#else
            out[c] = rows[c] | (uint32_t)rows[width + c] << 16;
#endif
        }
}

/* Read all rows of a head, and pack them where `packed` has memory for it. */
static void pack(Packed packed, const Rows *rows, int item, int width, const Sizes *sizes) {
    int length = padded(rows->count, COLUMNS);
    read_rows(packed.rows, rows, item, 0, rows->count, length, width, sizes);
    if (packed.columns != NULL) pack_columns(packed.columns, packed.rows, length, width);
    if (packed.groups != NULL) pack_groups(packed.groups, packed.rows, length, width);
}

/* The products of ROWS rows of (L, W) with columns k to k + COLUMNS - 1. */
INLINE void scores(Floats sums[ROWS][2], const Number *rows, const uint32_t *columns, int k,
                   int width, int channels) {
    int groups = width / GROUP;
    tile(sums, (const uint32_t *)rows, groups, padded(channels, GROUP) / GROUP,
         columns + (size_t)k * groups, LANES, LANES * groups);
}

/* out (ROWS, W) = factors (ROWS) times columns `first` to `until` - 1 of ROWS weights, times rows,
given as groups. */
INLINE void mix(float *out, const Number *weights, size_t stride, int first, int until,
                const uint32_t *groups, int width, const float factors[ROWS]) {
    for (int c = 0; c < width; c += COLUMNS) {
        Floats sums[ROWS][2];
        tile(sums, (const uint32_t *)(weights + first), stride / GROUP, (until - first) / GROUP,
             groups + (size_t)first / GROUP * width + c, width, LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            Floats factor = all(factors[r]);
            _mm512_storeu_ps(out + r * width + c, _mm512_mul_ps(sums[r][0], factor));
            _mm512_storeu_ps(out + r * width + c + LANES, _mm512_mul_ps(sums[r][1], factor));
        }
    }
}

/* The lanes of columns k to k + 15 from `first` to `until` - 1. */
INLINE __mmask16 lanes_between(int first, int until, int k) {
    return lanes(until - k) & ~lanes(first - k);
}

/* out (ROWS, W) = the attention of ROWS queries from `first` to keys before `until`; sums (ROWS) as
in `attend`, or NULL. */
INLINE void attend_tile(float *out, float *sums, const Number *queries, Packed keys,
                        Packed values, Softmax softmax, float *work, Number *weights, int first,
                        int until, int num_keys, int width, const Sizes *sizes) {
    size_t stride = padded(num_keys, COLUMNS);
    Floats most[ROWS];
    for (int r = 0; r < ROWS; r++) most[r] = all(-INFINITY);
    for (int k = 0; k < until; k += COLUMNS) {
        Floats found[ROWS][2];
        scores(found, queries, keys.columns, k, width, sizes->width);
        int is_edge = k + COLUMNS > num_keys || (sizes->is_causal && k + COLUMNS > first);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                int at = k + j * LANES;
                Floats x = found[r][j];
                if (softmax.bias != NULL) x = _mm512_add_ps(x, _mm512_loadu_ps(softmax.bias + at));
                if (is_edge) {
                    int last = sizes->is_causal ? least(first + r + 1, num_keys) : num_keys;
                    x = _mm512_mask_blend_ps(lanes_between(0, last, at), all(-INFINITY), x);
                }
                _mm512_storeu_ps(work + r * stride + at, x);
                most[r] = _mm512_max_ps(most[r], x);
            }
    }
    float factors[ROWS];
    for (int r = 0; r < ROWS; r++) {
        float top = _mm512_reduce_max_ps(most[r]) * softmax.scale;
        Floats shift = all(-top), scale = all(softmax.scale);
        Floats left_sum = all(0), right_sum = left_sum;
        const float *row = work + r * stride;
        for (int k = 0; k < until; k += COLUMNS) {
            Floats left = power(_mm512_fmadd_ps(_mm512_loadu_ps(row + k), scale, shift));
            Floats right = power(_mm512_fmadd_ps(_mm512_loadu_ps(row + k + LANES), scale, shift));
            left_sum = _mm512_add_ps(left_sum, left), right_sum = _mm512_add_ps(right_sum, right);
            store_two(weights + r * stride + k, left, right);
        }
        float sum = _mm512_reduce_add_ps(_mm512_add_ps(left_sum, right_sum));
        factors[r] = 1 / sum;
        if (sums != NULL) sums[r] = top + log2f(sum);
    }
    mix(out, weights, stride, 0, until, values.groups, width, factors);
}

/* gradients = those of the scores of ROWS rows, weights = their softmax, for columns `first` to
`until` - 1. Rows are queries and columns keys, or the other way round if `is_transposed`. */
INLINE void tile_gradients(Number *gradients, Number *weights, size_t stride,
                           const Number *rows, const Number *other_rows,
                           const uint32_t *columns, const uint32_t *other_columns, Softmax softmax,
                           int row, int first, int until, int num_columns, int width,
                           const Sizes *sizes, const int is_transposed) {
    Floats scale = all(softmax.scale);
    for (int k = first; k < until; k += COLUMNS) {
        Floats found[ROWS][2], own[ROWS][2];
        scores(found, rows, columns, k, width, sizes->width);
        int is_diagonal = is_transposed ? k < row + ROWS : k + COLUMNS > row;
        int is_edge = k + COLUMNS > num_columns || (sizes->is_causal && is_diagonal);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                int at = k + j * LANES, begin = 0, end = num_columns;
                Floats x = found[r][j];
                if (softmax.bias != NULL)
                    x = _mm512_add_ps(x, is_transposed ? all(softmax.bias[row + r])
                                                       : _mm512_loadu_ps(softmax.bias + at));
                Floats sum = is_transposed ? _mm512_loadu_ps(softmax.sums + at)
                                           : all(softmax.sums[row + r]);
                x = power(_mm512_fmsub_ps(x, scale, sum));
                if (is_edge) {
                    if (sizes->is_causal && is_transposed) begin = row + r;
                    if (sizes->is_causal && !is_transposed) end = least(row + r + 1, num_columns);
                    x = _mm512_maskz_mov_ps(lanes_between(begin, end, at), x);
                }
                own[r][j] = x;
            }
            if (weights != NULL) store_two(weights + r * stride + k, own[r][0], own[r][1]);
        }
        scores(found, other_rows, other_columns, k, width, sizes->width);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            Floats by[2];
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                Floats dots = is_transposed ? _mm512_loadu_ps(softmax.dots + k + j * LANES)
                                            : all(softmax.dots[row + r]);
                by[j] = _mm512_mul_ps(own[r][j], _mm512_sub_ps(found[r][j], dots));
            }
            store_two(gradients + r * stride + k, by[0], by[1]);
        }
    }
}

/* The number of keys up to the last without a bias of -infinity. */
static int seen_keys(const float *bias, int count) {
    while (bias != NULL && count > 0 && bias[count - 1] == -INFINITY) count--;
    return count;
}

static void *taken(char **memory, size_t bytes) {
    char *begin = *memory;
    *memory += (bytes + 63) / 64 * 64;
    return begin;
}

static Packed take_packed(char **memory, int length, int width, int has_columns, int has_groups) {
    size_t bytes = sizeof(Number) * length * width;
    Packed packed = {taken(memory, bytes), NULL, NULL};
    if (has_columns) packed.columns = taken(memory, bytes);
    if (has_groups) packed.groups = taken(memory, bytes);
    return packed;
}

/* out (B, H, N, C) = attention; sums (B, H, N) = log2 of the sum of exponentials of a query's
scores, or NULL; bias (B, L padded to COLUMNS), or NULL. Returns 0, or 1 if memory is lacking. */
int attend(const Sizes *sizes, const Rows *query, const Rows *key, const Rows *value,
           const Rows *out, const float *bias, float *sums) {
    int width = padded(sizes->width, COLUMNS), items = sizes->batch * sizes->heads;
    int keys = padded(key->count, COLUMNS), is_lacking = 0;
    size_t packed = sizeof(Number) * keys * width;
#pragma omp parallel num_threads(sizes->threads) reduction(| : is_lacking)
    {
        size_t tile_bytes = (4 + sizeof(Number)) * ROWS * ((size_t)keys + width);
        char *memory = aligned_alloc(64, (4 * packed + tile_bytes + 1023) / 64 * 64);
        char *next = memory;
        is_lacking |= memory == NULL;
        Packed packed_keys = {0}, packed_values = {0};
        float *work = NULL, *mixed = NULL;
        Number *weights = NULL, *own = NULL;
        if (memory != NULL) {
            packed_keys = take_packed(&next, keys, width, 1, 0);
            packed_values = take_packed(&next, keys, width, 0, 1);
            work = taken(&next, sizeof(float) * ROWS * keys);
            weights = taken(&next, sizeof(Number) * ROWS * keys);
            mixed = taken(&next, sizeof(float) * ROWS * width);
            own = taken(&next, sizeof(Number) * ROWS * width);
        }
#pragma omp for schedule(dynamic)
        for (int item = 0; item < items; item++) {
            if (memory == NULL) continue;
            const float *own_bias = bias ? bias + (size_t)(item / sizes->heads) * keys : NULL;
            Softmax softmax = {own_bias, NULL, NULL, LOG2_E / sqrtf((float)sizes->width)};
            int num_keys = seen_keys(own_bias, key->count);
            pack(packed_keys, key, item, width, sizes);
            pack(packed_values, value, item, width, sizes);
            for (int n = 0; n < query->count; n += ROWS) {
                int count = least(ROWS, query->count - n);
                int seen = sizes->is_causal ? least(n + count, num_keys) : num_keys;
                float found[ROWS];
                read_rows(own, query, item, n, count, ROWS, width, sizes);
                attend_tile(mixed, sums ? found : NULL, own, packed_keys, packed_values, softmax,
                            work, weights, n, padded(seen, COLUMNS), num_keys, width, sizes);
                if (sums != NULL)
                    memcpy(sums + (size_t)item * query->count + n, found, sizeof(float) * count);
                for (int r = 0; r < count; r++)
                    write_gradient(out, out, NULL, mixed + r * width, item, n + r, sizes);
            }
        }
        free(memory);
    }
    return is_lacking;
}

/* The gradients of query, key and value, each (B, H, L, C), given that of `out`; and of the gains,
(B, H, C) each, to be summed over pictures and heads. Arguments and result are those of `attend`. */
int attend_backward(const Sizes *sizes, const Rows *query, const Rows *key, const Rows *value,
                    const Rows *out, const Rows *gradient, const float *bias, const float *sums,
                    const Rows *for_query, const Rows *for_key, const Rows *for_value,
                    float *for_query_gain, float *for_key_gain) {
    int width = padded(sizes->width, COLUMNS), items = sizes->batch * sizes->heads;
    int keys = padded(key->count, COLUMNS), queries = padded(query->count, COLUMNS);
    int longest = keys > queries ? keys : queries, is_lacking = 0;
    size_t packed = sizeof(Number) * longest * width;
#pragma omp parallel num_threads(sizes->threads) reduction(| : is_lacking)
    {
        size_t tile_bytes = ROWS * (2 * sizeof(Number) * longest + sizeof(float) * width);
        size_t bytes = 11 * packed + tile_bytes + sizeof(float) * 2 * queries;
        char *memory = aligned_alloc(64, (bytes + 2047) / 64 * 64);
        char *next = memory;
        is_lacking |= memory == NULL;
        Packed q = {0}, k = {0}, v = {0}, g = {0};
        Number *weights = NULL, *gradients = NULL;
        float *mixed = NULL, *own_sums = NULL, *dots = NULL;
        if (memory != NULL) {
            q = take_packed(&next, queries, width, 1, 1);
            k = take_packed(&next, keys, width, 1, 1);
            v = take_packed(&next, keys, width, 1, 0);
            g = take_packed(&next, queries, width, 1, 1);
            weights = taken(&next, sizeof(Number) * ROWS * longest);
            gradients = taken(&next, sizeof(Number) * ROWS * longest);
            mixed = taken(&next, sizeof(float) * ROWS * width);
            own_sums = taken(&next, sizeof(float) * queries);
            dots = taken(&next, sizeof(float) * queries);
        }
#pragma omp for schedule(dynamic)
        for (int item = 0; item < items; item++) {
            if (memory == NULL) continue;
            pack(q, query, item, width, sizes), pack(k, key, item, width, sizes);
            pack(v, value, item, width, sizes), pack(g, gradient, item, width, sizes);
            memset(own_sums, 0, sizeof(float) * queries), memset(dots, 0, sizeof(float) * queries);
            memcpy(own_sums, sums + (size_t)item * query->count, sizeof(float) * query->count);
            for (int n = 0; n < query->count; n++) {
                const Number *row = row_of(out, item, sizes->heads, n);
                Floats sum = all(0);
                for (int c = 0; c < sizes->width; c += LANES) {
                    __mmask16 seen = lanes(sizes->width - c);
                    Floats above = load(g.rows + (size_t)n * width + c, seen);
                    sum = _mm512_fmadd_ps(load(row + c, seen), above, sum);
                }
                dots[n] = _mm512_reduce_add_ps(sum);
            }
            float score_factors[ROWS], value_factors[ROWS];
            for (int r = 0; r < ROWS; r++)
                score_factors[r] = 1 / sqrtf((float)sizes->width), value_factors[r] = 1;
            const float *own_bias = bias ? bias + (size_t)(item / sizes->heads) * keys : NULL;
            Softmax softmax = {own_bias, own_sums, dots, LOG2_E / sqrtf((float)sizes->width)};
            int num_keys = seen_keys(own_bias, key->count);
            float *query_gain = for_query_gain + (size_t)item * sizes->width;
            float *key_gain = for_key_gain + (size_t)item * sizes->width;
            memset(query_gain, 0, sizeof(float) * sizes->width);
            memset(key_gain, 0, sizeof(float) * sizes->width);
            for (int n = 0; n < query->count; n += ROWS) {
                int count = least(ROWS, query->count - n);
                int seen = sizes->is_causal ? least(n + count, num_keys) : num_keys;
                int until = padded(seen, COLUMNS);
                size_t at = (size_t)n * width;
                tile_gradients(gradients, NULL, longest, q.rows + at, g.rows + at, k.columns,
                               v.columns, softmax, n, 0, until, num_keys, width, sizes, 0);
                mix(mixed, gradients, longest, 0, until, k.groups, width, score_factors);
                for (int r = 0; r < count; r++)
                    write_gradient(for_query, query, query_gain, mixed + r * width, item, n + r,
                                   sizes);
            }
            for (int n = 0; n < key->count; n += ROWS) {
                int count = least(ROWS, key->count - n);
                int first = sizes->is_causal ? n / COLUMNS * COLUMNS : 0;
                size_t at = (size_t)n * width;
                tile_gradients(gradients, weights, longest, k.rows + at, v.rows + at, q.columns,
                               g.columns, softmax, n, first, queries, query->count, width, sizes,
                               1);
                mix(mixed, gradients, longest, first, queries, q.groups, width, score_factors);
                for (int r = 0; r < count; r++)
                    write_gradient(for_key, key, key_gain, mixed + r * width, item, n + r, sizes);
                mix(mixed, weights, longest, first, queries, g.groups, width, value_factors);
                for (int r = 0; r < count; r++)
                    write_gradient(for_value, value, NULL, mixed + r * width, item, n + r, sizes);
            }
        }
        free(memory);
    }
    return is_lacking;
}
