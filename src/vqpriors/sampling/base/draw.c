/* Codes drawn from logits in bfloat16 or float32, on CPUs with AVX-512; see avx512.h.

Compiled and called by compiled_draw.py. After the first pass, a row is read from the processor's
cache. Probabilities are not written. Weights are exponentials in float32; the sums of blocks of
them are added in float64. */

#include "avx512.h"

#define BLOCK (16 * LANES) /* codes whose weights are summed in float32 */

/* A row of `count` logits, of which `most` is the highest. */
typedef struct {
    const Number *logits;
    int count;
    float most;
} Row;

/* 2^(scale (logit - most)) of LANES codes from `first`, 0 beyond the row. */
INLINE Floats weights_at(Row row, int first, float scale) {
    __mmask16 seen = lanes(row.count - first);
    Floats x = _mm512_sub_ps(load(row.logits + first, seen), all(row.most));
    return _mm512_maskz_mov_ps(seen, power(_mm512_mul_ps(x, all(scale))));
}

INLINE double block_sum(Row row, int first, float scale) {
    Floats sum = all(0);
    for (int k = first; k < least(first + BLOCK, row.count); k += LANES)
        sum = _mm512_add_ps(sum, weights_at(row, k, scale));
    return _mm512_reduce_add_ps(sum);
}

static float highest(const Number *logits, int count) {
    Floats most = all(-INFINITY);
    for (int k = 0; k < count; k += LANES) {
        __mmask16 seen = lanes(count - k);
        most = _mm512_mask_max_ps(most, seen, most, load(logits + k, seen));
    }
    return _mm512_reduce_max_ps(most);
}

static double row_sum(Row row, float scale) {
    double sum = 0;
    for (int k = 0; k < row.count; k += BLOCK) sum += block_sum(row, k, scale);
    return sum;
}

/* The first code up to which the weights' sum is above `target`; never a code of weight 0. */
static int find(Row row, float scale, double target) {
    int block = 0, found = 0;
    double left = target; /* of the target, from `block` on */
    for (int first = 0; first < row.count; first += BLOCK) {
        double sum = block_sum(row, first, scale);
        if (sum == 0) continue;
        block = first, left = target;
        if (target < sum) break;
        target -= sum;
    }
    for (int first = block; first < least(block + BLOCK, row.count); first += LANES) {
        float weights[LANES];
        _mm512_storeu_ps(weights, weights_at(row, first, scale));
        for (int lane = 0; lane < LANES; lane++) {
            if (weights[lane] == 0) continue;
            found = first + lane; /* also if rounding places the target beyond the block's last */
            if (left < weights[lane]) return found;
            left -= weights[lane];
        }
    }
    return found;
}

/* codes (rows) drawn from the softmax of logits (rows, count) / temperature, at uniform numbers in
0..1, and their log-probabilities at temperature 1. `count` stands for a code of a row with NaN. */
void draw(int64_t *codes, float *log_probabilities, const Number *logits, const double *uniform,
          int64_t rows, int count, float temperature, int threads) {
    float scale = LOG2_E / temperature;
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < rows; n++) {
        Row row = {logits + n * count, count, 0};
        row.most = highest(row.logits, count);
        double sum = row_sum(row, scale), plain = scale == LOG2_E ? sum : row_sum(row, LOG2_E);
        int code = isnan(sum) ? count : find(row, scale, uniform[n] * sum);
        float logit = code < count ? _mm512_cvtss_f32(load(row.logits + code, 1)) : NAN;
        codes[n] = code;
        log_probabilities[n] = logit - row.most - (float)log(plain);
    }
}
