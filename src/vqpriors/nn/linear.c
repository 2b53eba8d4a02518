/* Linear layers in bfloat16 or float32 and their gradients, on CPUs with AVX-512; see avx512.h.

Compiled and called by compiled_linear.py. Inputs and outputs are multiples of COLUMNS; sums are in
float32. What a tile reads is packed, so that it is read in sequence.

Reference:
    Goto & van de Geijn 2008, Anatomy of High-Performance Matrix Multiplication. */

#include "avx512.h"

#define BLOCK 32 /* rows that a thread multiplies at a time */

/* Weights (outputs, inputs), or (inputs, outputs) if `is_transposed`, packed for products over the
inputs, COLUMNS outputs at a time. */
static void pack_weights(uint32_t *packed, const Number *weights, int inputs, int outputs,
                         int is_transposed, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int n = 0; n < outputs; n += COLUMNS) {
        uint32_t *out = packed + (size_t)n * (inputs / GROUP);
        if (is_transposed) pack_groups(out, weights + n, outputs, inputs, COLUMNS);
        else pack_columns(out, weights + (size_t)n * inputs, COLUMNS, inputs);
    }
}

/* out (rows, outputs) = x (rows, inputs) times weights as in `pack_weights`, with memory for as many
numbers in `packed`. There are at least ROWS rows. */
void multiply(Number *out, const Number *x, const Number *weights, uint32_t *packed, int64_t rows,
              int inputs, int outputs, int is_transposed, int threads) {
    int groups = inputs / GROUP, blocks = rows < BLOCK ? 1 : rows / BLOCK;
    size_t group_stride = is_transposed ? COLUMNS : LANES;
    size_t block_stride = is_transposed ? LANES : (size_t)LANES * groups;
    pack_weights(packed, weights, inputs, outputs, is_transposed, threads);
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
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++)
                    store_two(out + (m + r) * outputs + n, sums[r][0], sums[r][1]);
            }
    }
}
