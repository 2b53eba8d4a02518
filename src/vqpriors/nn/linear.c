/* Products of linear layers in bfloat16 or float32, on CPUs with AVX-512; see avx512.h.

Compiled and called by compiled_linear.py. Inputs and outputs are multiples of COLUMNS; sums are in
float32. Weights are packed, so that a tile reads them in sequence.

Reference:
    Goto & van de Geijn 2008, Anatomy of High-Performance Matrix Multiplication. */

#include "avx512.h"

#define BLOCK 32 /* rows that a thread multiplies at a time */

/* How weights are given, and what is computed. */
enum Kind {
    PLAIN,      /* weights (outputs, inputs) */
    TRANSPOSED, /* weights (inputs, outputs) */
    GATED       /* weights (outputs, inputs) of gate and up; silu(gate) * up is computed */
};

/* Weights packed for products over the inputs, COLUMNS outputs at a time; of GATED weights, the gate
and up of LANES results. */
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

/* out (rows, outputs), or (rows, outputs / 2) if GATED, = x (rows, inputs) times weights, with memory
for as many numbers in `packed`. There are at least ROWS rows. */
void multiply(Number *out, const Number *x, const Number *weights, uint32_t *packed, int64_t rows,
              int inputs, int outputs, enum Kind kind, int threads) {
    int groups = inputs / GROUP, blocks = rows < BLOCK ? 1 : rows / BLOCK;
    size_t group_stride = kind == TRANSPOSED ? COLUMNS : LANES;
    size_t block_stride = kind == TRANSPOSED ? LANES : (size_t)LANES * groups;
    pack_weights(packed, weights, inputs, outputs, kind, threads);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int block = 0; block < blocks; block++) {
        int64_t first = (int64_t)block * BLOCK;
        int64_t last = block + 1 < blocks ? first + BLOCK : rows;
        for (int n = 0; n < outputs; n += COLUMNS)
            for (int64_t row = first; row < last; row += ROWS) {
                int64_t m = row + ROWS < last ? row : last - ROWS; /* some rows twice */
                Floats sums[ROWS][2];
                tile(sums, (const uint32_t *)(x + m * inputs), groups, groups,
                     packed + (size_t)n * groups, group_stride, block_stride);
                for (int r = 0; r < ROWS; r++) {
                    if (kind == GATED) {
                        Floats silu = _mm512_mul_ps(sums[r][0], sigmoid(sums[r][0]));
                        store(out + ((m + r) * outputs + n) / 2, lanes(LANES),
                              _mm512_mul_ps(silu, sums[r][1]));
                    } else {
                        store_two(out + (m + r) * outputs + n, sums[r][0], sums[r][1]);
                    }
                }
            }
    }
}
