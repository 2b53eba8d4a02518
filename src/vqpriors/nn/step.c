/* One step of a causal transformer on a CPU: all layers, for one position of a few pictures.

Compiled and called by compiled_step.py, which lays out the tensors. Threads share the outputs of a
product, and the heads of all pictures. Sums are in float32. The gain of a norm is part of the
matrix that follows it, so that a norm is one factor for each picture. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
#define LANES 16 /* float32 numbers in a register: the outputs of a block */
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define MAX_ROWS 64 /* pictures */
#define TILE_ROWS 4 /* pictures, times TILE_BLOCKS blocks, are computed in registers */
#define TILE_BLOCKS 2
#define ROW_BLOCKS 4 /* blocks of one picture */
#define INLINE static inline __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

typedef struct {
    int32_t rows;    /* pictures, B */
    int32_t width;   /* D */
    int32_t heads;   /* H, each of width C = D / H */
    int32_t hidden;  /* width of the feed-forward layer, F; a multiple of LANES */
    int32_t length;  /* positions of the cache, N; a multiple of LANES */
    int32_t text;    /* text tokens, L; a multiple of LANES; 0 without captions */
    int32_t depth;   /* layers */
    int32_t codes;   /* K */
    int32_t threads; /* at most */
    int32_t is_half; /* whether matrices, keys and values are bfloat16, not float32 */
    float epsilon;   /* of norms */
} Sizes;

/* A matrix of O outputs and I inputs is (O / LANES, I, LANES), padded to whole blocks; so are the
keys of a head, whose outputs are scores: (B, H, N / LANES, C, LANES). Values are (B, H, N, V), for
V = C padded to whole blocks. */
typedef struct {
    const void *qkv, *out, *query, *cross_out, *gate_up, *down;
    const float *query_gain, *key_gain, *cross_gain; /* (C) */
    void *keys, *values;
    const void *text_keys, *text_values;
} Layer;

typedef struct {
    float *x;      /* (B, D): the embedded tokens, then the residual stream */
    float *wide;   /* (B, max(3 D, 2 F)) */
    float *mixed;  /* (B, D) */
    float *scores; /* (B, H, max(N, L)) */
} Work;

/* The number for input i, lane j of block b is at b * block_stride + i * input_stride + j. */
typedef struct {
    const void *numbers;
    size_t start, block_stride, input_stride;
    int is_half;
} Matrix;

typedef struct {
    int index, count;
} Thread;

static int padded(int number) { return (number + LANES - 1) / LANES * LANES; }

static void share(int number, Thread thread, int *begin, int *end) {
    *begin = (int)((int64_t)number * thread.index / thread.count);
    *end = (int)((int64_t)number * (thread.index + 1) / thread.count);
}

INLINE Floats load(const void *numbers, size_t i, int is_half) {
    Floats result;
    if (!is_half) {
        memcpy(&result, (const float *)numbers + i, sizeof result);
        return result;
    }
    Halves halves;
    memcpy(&halves, (const uint16_t *)numbers + i, sizeof halves);
    Words words = __builtin_convertvector(halves, Words) << 16;
    memcpy(&result, &words, sizeof result);
    return result;
}

static void put(void *numbers, size_t i, float number, int is_half) {
    if (!is_half) {
        ((float *)numbers)[i] = number;
        return;
    }
    uint32_t word;
    memcpy(&word, &number, 4);
    ((uint16_t *)numbers)[i] = (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

/* e^x to 2e-7 of it, for x from -87 to 87; beyond, that of -87 or 87. The coefficients are those of
the Cephes library (Moshier 1989). */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f; /* x - n ln 2 */
    float p = 1.98756915e-4f;
    p = p * r + 1.39819995e-3f;
    p = p * r + 8.33345190e-3f;
    p = p * r + 4.16657960e-2f;
    p = p * r + 1.66666655e-1f;
    p = p * r + 5.00000012e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t word = (uint32_t)((int32_t)n + 127) << 23; /* 2^n */
    float power;
    memcpy(&power, &word, 4);
    return p * power;
}

/* sums[row * blocks + b] = the products of x[row] with block b. */
INLINE void tile(Floats *sums, int rows, int blocks, const float *x, size_t x_stride, Matrix matrix,
                 int inputs) {
    Floats own[TILE_ROWS * ROW_BLOCKS];
    memset(own, 0, sizeof own);
    for (int i = 0; i < inputs; i++) {
        Floats weights[ROW_BLOCKS];
        for (int b = 0; b < blocks; b++)
            weights[b] = load(matrix.numbers,
                              matrix.start + b * matrix.block_stride + i * matrix.input_stride,
                              matrix.is_half);
        for (int row = 0; row < rows; row++)
            for (int b = 0; b < blocks; b++)
                own[row * blocks + b] += x[row * x_stride + i] * weights[b];
    }
    memcpy(sums, own, sizeof(Floats) * rows * blocks);
}

/* The outputs in blocks `begin` to `end`: y = x @ matrix, times a factor for each row, or without
factors, y += x @ matrix. */
INLINE void multiply(const float *x, size_t x_stride, Matrix matrix, int inputs, int outputs,
                     float *y, size_t y_stride, const float *factors, int rows, int begin,
                     int end) {
    int num_rows, num_blocks;
    for (int block = begin; block < end; block += num_blocks) {
        int most = rows >= TILE_ROWS ? TILE_BLOCKS : ROW_BLOCKS;
        num_blocks = end - block >= most ? most : end - block >= 2 ? 2 : 1;
        Matrix at = matrix;
        at.start += block * matrix.block_stride;
        for (int row = 0; row < rows; row += num_rows) {
            Floats sums[TILE_ROWS * ROW_BLOCKS];
            const float *part = x + row * x_stride;
            num_rows = rows - row >= TILE_ROWS ? TILE_ROWS : 1;
            if (num_rows > 1 && num_blocks == TILE_BLOCKS)
                tile(sums, TILE_ROWS, TILE_BLOCKS, part, x_stride, at, inputs);
            else if (num_rows > 1)
                tile(sums, TILE_ROWS, 1, part, x_stride, at, inputs);
            else if (num_blocks == ROW_BLOCKS)
                tile(sums, 1, ROW_BLOCKS, part, x_stride, at, inputs);
            else if (num_blocks == 2)
                tile(sums, 1, 2, part, x_stride, at, inputs);
            else
                tile(sums, 1, 1, part, x_stride, at, inputs);
            for (int each = 0; each < num_rows; each++) {
                float lanes[ROW_BLOCKS * LANES];
                memcpy(lanes, sums + each * num_blocks, sizeof(Floats) * num_blocks);
                float *to = y + (row + each) * y_stride + (size_t)block * LANES;
                int count = outputs - block * LANES;
                if (count > num_blocks * LANES) count = num_blocks * LANES;
                if (factors)
                    for (int j = 0; j < count; j++) to[j] = lanes[j] * factors[row + each];
                else
                    for (int j = 0; j < count; j++) to[j] += lanes[j];
            }
        }
    }
}

/* `multiply`, compiled for each dtype. */
static void product(const float *x, size_t x_stride, Matrix matrix, int inputs, int outputs,
                    float *y, size_t y_stride, const float *factors, int rows, int begin, int end) {
    int is_half = matrix.is_half;
    matrix.is_half = 1;
    if (is_half) {
        multiply(x, x_stride, matrix, inputs, outputs, y, y_stride, factors, rows, begin, end);
        return;
    }
    matrix.is_half = 0;
    multiply(x, x_stride, matrix, inputs, outputs, y, y_stride, factors, rows, begin, end);
}

/* A layer's product; each thread computes a share of the outputs. */
static void layer_product(const float *x, size_t x_stride, const void *weights, int inputs,
                          int outputs, float *y, const float *factors, const Sizes *of,
                          Thread thread) {
    Matrix matrix = {weights, 0, (size_t)inputs * LANES, LANES, of->is_half};
    int begin, end;
    share(padded(outputs) / LANES, thread, &begin, &end);
    product(x, x_stride, matrix, inputs, outputs, y, outputs, factors, of->rows, begin, end);
}

/* y[:, :F] = silu(x @ gate) * (x @ up), for x times its factors; (B, 2 F). */
static void gated_product(const float *x, const void *gate_up, float *y, const float *factors,
                          const Sizes *of, Thread thread) {
    int inputs = of->width, hidden = of->hidden, blocks = hidden / LANES, begin, end;
    Matrix matrix = {gate_up, 0, (size_t)inputs * LANES, LANES, of->is_half};
    share(blocks, thread, &begin, &end);
    for (int half = 0; half < 2; half++)
        product(x, inputs, matrix, inputs, 2 * hidden, y, 2 * hidden, factors, of->rows,
                half * blocks + begin, half * blocks + end);
    for (int row = 0; row < of->rows; row++) {
        float *gate = y + (size_t)row * 2 * hidden, *up = gate + hidden;
        for (int j = begin * LANES; j < end * LANES; j++)
            gate[j] *= up[j] / (1 + exponential(-gate[j]));
    }
}

static float norm(const float *x, int width, float epsilon) {
    float squares = 0;
    for (int i = 0; i < width; i++) squares += x[i] * x[i];
    return 1 / sqrtf(squares / width + epsilon);
}

static void norms(float factors[MAX_ROWS], const float *x, const Sizes *of) {
    for (int row = 0; row < of->rows; row++)
        factors[row] = norm(x + (size_t)row * of->width, of->width, of->epsilon);
}

static void normalise(float *x, const float *gain, int width, float epsilon) {
    float factor = norm(x, width, epsilon);
    for (int c = 0; c < width; c++) x[c] *= factor * gain[c];
}

static void rotate(float *x, const float *cosines, const float *sines, int width) {
    for (int c = 0, d = width / 2; c < width / 2; c++, d++) {
        float first = x[c], second = x[d];
        x[c] = first * cosines[c] + second * sines[c];
        x[d] = second * cosines[d] + first * sines[d];
    }
}

/* The largest of `count` numbers; overwrites those after them, up to a whole block. */
static float largest(float *numbers, int count) {
    float lanes[LANES], most = numbers[0];
    for (int j = 0; j < LANES; j++) lanes[j] = most;
    for (int i = count; i < padded(count); i++) numbers[i] = most;
    for (int i = 0; i < count; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = numbers[i + j] > lanes[j] ? numbers[i + j] : lanes[j];
    for (int j = 0; j < LANES; j++) most = lanes[j] > most ? lanes[j] : most;
    return most;
}

/* Attention of one query, (C), to the first `count` of `length` keys; `head` is one of B x H. */
static void attend(const float *query, const void *keys, const void *values, int head, int length,
                   int count, int width, const float *bias, float *scores, float *mixed,
                   int is_half) {
    size_t v = padded(width), blocks = padded(count) / LANES;
    float scale = 1 / sqrtf((float)width), total = 0;
    Matrix key = {keys, (size_t)head * length * width, (size_t)width * LANES, LANES, is_half};
    product(query, 0, key, width, padded(count), scores, 0, &scale, 1, 0, (int)blocks);
    for (int i = 0; bias && i < count; i++) scores[i] += bias[i];
    float most = largest(scores, count);
    for (int i = 0; i < count; i++) {
        scores[i] = exponential(scores[i] - most);
        total += scores[i];
    }
    float share_of = 1 / total;
    Matrix value = {values, head * length * v, LANES, v, is_half};
    product(scores, 0, value, count, width, mixed, 0, &share_of, 1, 0, (int)v / LANES);
}

static void self_attention(const Sizes *of, const Layer *layer, const Work *work, const float *rope,
                           int position, Thread thread) {
    int width = of->width / of->heads, begin, end;
    int most = of->length > of->text ? of->length : of->text;
    share(of->rows * of->heads, thread, &begin, &end);
    for (int head = begin; head < end; head++) {
        int row = head / of->heads, own = head % of->heads;
        float *query = work->wide + (size_t)row * 3 * of->width + own * width;
        float *key = query + of->width, *value = key + of->width;
        normalise(query, layer->query_gain, width, of->epsilon);
        normalise(key, layer->key_gain, width, of->epsilon);
        if (rope) {
            rotate(query, rope, rope + width, width);
            rotate(key, rope, rope + width, width);
        }
        size_t start = (size_t)head * of->length, block = position / LANES * LANES;
        for (int c = 0; c < width; c++) {
            put(layer->keys, (start + block) * width + c * LANES + position % LANES, key[c],
                of->is_half);
            put(layer->values, (start + position) * padded(width) + c, value[c], of->is_half);
        }
        attend(query, layer->keys, layer->values, head, of->length, position + 1, width, NULL,
               work->scores + (size_t)head * most, work->mixed + (size_t)head * width, of->is_half);
    }
}

static void cross_attention(const Sizes *of, const Layer *layer, const Work *work,
                            const float *bias, Thread thread) {
    int width = of->width / of->heads, begin, end;
    int most = of->length > of->text ? of->length : of->text;
    share(of->rows * of->heads, thread, &begin, &end);
    for (int head = begin; head < end; head++) {
        float *query = work->wide + (size_t)head * width;
        normalise(query, layer->cross_gain, width, of->epsilon);
        attend(query, layer->text_keys, layer->text_values, head, of->text, of->text, width,
               bias + (size_t)(head / of->heads) * of->text, work->scores + (size_t)head * most,
               work->mixed + (size_t)head * width, of->is_half);
    }
}

static void run(const Sizes *of, const Layer *layers, const void *head, const float *bias,
                const float *rope, int position, const Work *work, float *logits, Thread thread) {
    int width = of->width, hidden = of->hidden;
    float factors[MAX_ROWS];
    for (const Layer *layer = layers; layer < layers + of->depth; layer++) {
        norms(factors, work->x, of);
        layer_product(work->x, width, layer->qkv, width, 3 * width, work->wide, factors, of,
                      thread);
#pragma omp barrier
        self_attention(of, layer, work, rope, position, thread);
#pragma omp barrier
        layer_product(work->mixed, width, layer->out, width, width, work->x, NULL, of, thread);
#pragma omp barrier
        if (of->text) {
            norms(factors, work->x, of);
            layer_product(work->x, width, layer->query, width, width, work->wide, factors, of,
                          thread);
#pragma omp barrier
            cross_attention(of, layer, work, bias, thread);
#pragma omp barrier
            layer_product(work->mixed, width, layer->cross_out, width, width, work->x, NULL, of,
                          thread);
#pragma omp barrier
        }
        norms(factors, work->x, of);
        gated_product(work->x, layer->gate_up, work->wide, factors, of, thread);
#pragma omp barrier
        layer_product(work->wide, 2 * hidden, layer->down, hidden, width, work->x, NULL, of,
                      thread);
#pragma omp barrier
    }
    norms(factors, work->x, of);
    layer_product(work->x, width, head, width, of->codes, logits, factors, of, thread);
}

/* The outputs of a block, for the layout of matrices. */
int lanes(void) { return LANES; }

/* Map the embedded tokens of one position, work->x, to `logits`, (B, K).

`rope` is (2, C), cosines and signed sines of the position, or NULL; `bias` is (B, L), 0 or at
padding -infinity. */
void step(const Sizes *of, const Layer *layers, const void *head, const float *bias,
          const float *rope, int position, const Work *work, float *logits) {
#ifdef _OPENMP
#pragma omp parallel num_threads(of->threads)
    {
        Thread thread = {omp_get_thread_num(), omp_get_num_threads()};
        run(of, layers, head, bias, rope, position, work, logits, thread);
    }
#else
    Thread thread = {0, 1};
    run(of, layers, head, bias, rope, position, work, logits, thread);
#endif
}
