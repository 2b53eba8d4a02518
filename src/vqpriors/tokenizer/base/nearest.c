/* The nearest code of a vector, on CPUs with AVX-512 BF16.

Compiled and called by compiled_nearest.py. The scores x c - |c|^2 / 2 of all codes are computed
from numbers rounded to bfloat16, twice as fast as in float32. Only codes that the error of
rounding leaves in question are compared by their exact distance, so that the result is exact. */

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "avx512.h"

typedef struct {
    const float *codes;      /* (K, D) */
    uint32_t *columns;       /* (K / 16, W / 2, 16) pairs of numbers in bfloat16 */
    float *halves;           /* |c|^2 / 2, (K padded); infinite where there is no code */
    float most_length;       /* the largest |c| */
    int count, width, pairs; /* K, D, W / 2 for D padded to pairs */
} Codebook;

static double squared_length(const float *x, int width) {
    double sum = 0;
    for (int i = 0; i < width; i++) sum += (double)x[i] * x[i];
    return sum;
}

static double squared_distance(const float *x, const float *y, int width) {
    double sum = 0;
    for (int i = 0; i < width; i++) sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum;
}

/* out (2 pairs) = x (width) in bfloat16, padded with a zero. */
static void round_row(uint16_t *out, const float *x, int width, int pairs) {
    out[2 * pairs - 1] = 0;
    for (int i = 0; i < width; i += LANES) {
        __mmask16 seen = lanes(width - i);
        store(out + i, seen, _mm512_maskz_loadu_ps(seen, x + i));
    }
}

static void pack(Codebook *book, uint16_t *row, int count) {
    size_t block = (size_t)LANES * book->pairs;
    for (int k = 0; k < count; k++) {
        book->halves[k] = INFINITY;
        memset(row, 0, sizeof(uint32_t) * book->pairs);
        if (k < book->count) {
            const float *code = book->codes + (size_t)k * book->width;
            double squared = squared_length(code, book->width);
            book->halves[k] = (float)(squared / 2);
            /* With this order, a length that is not a number stays one. */
            if (!(sqrt(squared) <= book->most_length)) book->most_length = (float)sqrt(squared);
            round_row(row, code, book->width, book->pairs);
        }
        uint32_t *column = book->columns + k / LANES * block + k % LANES;
        for (int p = 0; p < book->pairs; p++) memcpy(column + p * LANES, row + 2 * p, 4);
    }
}

/* The scores of ROWS rounded vectors, (ROWS, count). */
static void score(float *scores, int count, const uint32_t *rows, const Codebook *book) {
    size_t block = (size_t)LANES * book->pairs;
    for (int k = 0; k < count; k += COLUMNS) {
        const uint32_t *columns = book->columns + k / LANES * block;
        Floats sums[ROWS][2];
        tile(sums, rows, book->pairs, book->pairs, columns, LANES, block);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                int at = k + j * LANES;
                Floats half = _mm512_loadu_ps(book->halves + at);
                _mm512_storeu_ps(scores + (size_t)r * count + at, _mm512_sub_ps(sums[r][j], half));
            }
    }
}

/* The nearest code of x, the first of ties, given the scores of all. */
static int64_t choose(const float *x, const float *scores, int count, const Codebook *book) {
    Floats most = all(-INFINITY);
    for (int k = 0; k < count; k += LANES)
        most = _mm512_max_ps(most, _mm512_loadu_ps(scores + k));
    /* Rounding to bfloat16 changes a factor by at most 2^-9 of it, so x c by 2^-8 of |x| |c|; sums
    in float32 add an error of their own. A score can be too low by both, the highest too high. */
    float length = (float)sqrt(squared_length(x, book->width)), most_length = book->most_length;
    float sums = 2 * (book->width + 8) * FLT_EPSILON * (length + most_length) * most_length;
    float error = 1.01f / 256 * length * most_length + sums;
    Floats least_score = all(_mm512_reduce_max_ps(most) - 2 * error);
    double best = INFINITY;
    int64_t found = 0;
    for (int k = 0; k < count; k += LANES) {
        Floats own = _mm512_loadu_ps(scores + k);
        uint32_t near = _mm512_cmp_ps_mask(own, least_score, _CMP_GE_OQ);
        for (; near; near &= near - 1) {
            int code = k + __builtin_ctz(near);
            if (code >= book->count) break;
            const float *numbers = book->codes + (size_t)code * book->width;
            double distance = squared_distance(x, numbers, book->width);
            if (distance < best) best = distance, found = code;
        }
    }
    return found;
}

/* codes (rows) = the nearest of codebook (count, width) to each of vectors (rows, width). Returns
0, or 1 if memory is lacking. */
int nearest(int64_t *codes, const float *vectors, const float *codebook, int64_t rows, int count,
            int width, int threads) {
    int padded_count = padded(count, COLUMNS), pairs = padded(width, 2) / 2;
    Codebook book = {codebook, NULL, NULL, 0, count, width, pairs};
    uint16_t *row = malloc(sizeof(uint32_t) * pairs);
    book.columns = malloc(sizeof(uint32_t) * padded_count * pairs);
    book.halves = malloc(sizeof(float) * padded_count);
    int has_book = row != NULL && book.columns != NULL && book.halves != NULL;
    int is_lacking = !has_book;
    if (has_book) pack(&book, row, padded_count);
#pragma omp parallel num_threads(threads) reduction(| : is_lacking)
    {
        float *scores = malloc(sizeof(float) * ROWS * padded_count);
        uint16_t *own = calloc(ROWS * pairs, sizeof(uint32_t));
        is_lacking |= !has_book || scores == NULL || own == NULL;
#pragma omp for
        for (int64_t first = 0; first < rows; first += ROWS) {
            if (is_lacking) continue;
            int until = rows - first < ROWS ? (int)(rows - first) : ROWS;
            for (int r = 0; r < until; r++)
                round_row(own + 2 * r * pairs, vectors + (first + r) * width, width, pairs);
            score(scores, padded_count, (const uint32_t *)own, &book);
            for (int r = 0; r < until; r++)
                codes[first + r] = choose(vectors + (first + r) * width,
                                          scores + (size_t)r * padded_count, padded_count, &book);
        }
        free(scores), free(own);
    }
    free(row), free(book.columns), free(book.halves);
    return is_lacking;
}
