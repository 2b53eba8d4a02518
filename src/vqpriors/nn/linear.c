/* Linear layers, and SwiGLU without gradients, in bfloat16 or float32, on CPUs with AVX-512; see
avx512.h.

Compiled and called by compiled_linear.py. Inputs and outputs are multiples of COLUMNS; sums are in
float32. Weights are packed, so that a tile reads them in sequence.

Reference:
    Goto & van de Geijn 2008, Anatomy of High-Performance Matrix Multiplication. */

#include "avx512.h"

#define CHUNK 32 /* rows that a thread multiplies at a time */

/* How weights are given, and what is computed. */
enum Kind {
    PLAIN,      /* weights (outputs, inputs) */
    TRANSPOSED, /* weights (inputs, outputs) */
    GATED       /* weights (outputs, inputs) of gate and up; silu(gate) * up is computed */
};

/* Pack weights for products over the inputs, COLUMNS outputs at a time; if GATED, LANES of gate
and the same LANES of up. */
static void pack_weights(uint32_t *packed, const Number *weights, int inputs, int outputs,
                         enum Kind kind, int threads) {
    size_t groups = inputs / GROUP, width = inputs, half = outputs / 2;
#pragma omp parallel for num_threads(threads)
    for (int n = 0; n < outputs; n += COLUMNS) {
        uint32_t *out = packed + n * groups;
        if (kind == TRANSPOSED) {
            pack_groups(out, weights + n, outputs, inputs, COLUMNS);
        } else if (kind == PLAIN) {
            pack_columns(out, weights + n * width, COLUMNS, inputs);
        } else {
            pack_columns(out, weights + n / 2 * width, LANES, inputs);
            pack_columns(out + LANES * groups, weights + (half + n / 2) * width, LANES, inputs);
        }
    }
}

/* out (rows, outputs) = x (rows, inputs) times weights; if GATED, out (rows, outputs / 2) =
silu(gate) * up of that product. `packed` has memory for as many numbers as `weights`. There are at
least ROWS rows. */
void multiply(Number *out, const Number *x, const Number *weights, uint32_t *packed, int64_t rows,
              int inputs, int outputs, enum Kind kind, int threads) {
    int groups = inputs / GROUP, chunks = rows < CHUNK ? 1 : rows / CHUNK;
    size_t group_stride = kind == TRANSPOSED ? COLUMNS : LANES;
    size_t block_stride = kind == TRANSPOSED ? LANES : (size_t)LANES * groups;
    pack_weights(packed, weights, inputs, outputs, kind, threads);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int chunk = 0; chunk < chunks; chunk++) {
        int64_t first = (int64_t)chunk * CHUNK;
        int64_t last = chunk + 1 < chunks ? first + CHUNK : rows;
        for (int n = 0; n < outputs; n += COLUMNS)
            for (int64_t row = first; row < last; row += ROWS) {
                int64_t m = row + ROWS < last ? row : last - ROWS; /* some rows twice */
                Floats sums[ROWS][2];
                tile(sums, (const uint32_t *)(x + m * inputs), groups, groups,
                     packed + (size_t)n * groups, group_stride, block_stride);
                for (int r = 0; r < ROWS; r++) {
                    if (kind == GATED) {
                        store(out + ((m + r) * outputs + n) / 2, lanes(LANES),
                              _mm512_mul_ps(silu(sums[r][0]), sums[r][1]));
                    } else {
                        store_two(out + (m + r) * outputs + n, sums[r][0], sums[r][1]);
                    }
                }
            }
    }
}
