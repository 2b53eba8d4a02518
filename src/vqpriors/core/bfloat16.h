/* Vectors of float32 numbers from and to bfloat16, on CPUs with AVX-512 BF16. */

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 16   /* float32 numbers in a register */
#define ROWS 8     /* rows of a tile, which is computed in registers */
#define COLUMNS 32 /* columns of a tile */
#define LOG2_E 1.44269504f
#define INLINE static inline __attribute__((always_inline))

typedef __m512 Floats;

INLINE int padded(int number, int to) { return (number + to - 1) / to * to; }
INLINE int least(int a, int b) { return a < b ? a : b; }

/* The first `count` lanes, or all if there are fewer. */
INLINE __mmask16 lanes(int count) {
    return (__mmask16)(count >= LANES ? 0xffff : count <= 0 ? 0 : (1u << count) - 1);
}

INLINE Floats all(float number) { return _mm512_set1_ps(number); }

INLINE Floats load_halves(const uint16_t *numbers, __mmask16 seen) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(seen, numbers));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

/* Rounded to the nearest. */
INLINE void store_halves(uint16_t *numbers, __mmask16 seen, Floats x) {
    _mm256_mask_storeu_epi16(numbers, seen, (__m256i)_mm512_cvtneps_pbh(x));
}

/* One over the root mean square of a row. */
INLINE float norm_scale(const uint16_t *row, int width, float epsilon) {
    Floats sum = all(0);
    for (int c = 0; c < width; c += LANES) {
        Floats x = load_halves(row + c, lanes(width - c));
        sum = _mm512_fmadd_ps(x, x, sum);
    }
    return 1 / sqrtf(_mm512_reduce_add_ps(sum) / width + epsilon);
}

/* sum + the products of a pair of bfloat16 numbers with those of each lane. */
INLINE Floats dot(Floats sum, uint32_t pair, __m512i column) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)pair), (__m512bh)column);
}

/* sums = ROWS rows of `count` pairs times COLUMNS columns, in two blocks of LANES. */
INLINE void tile(Floats sums[ROWS][2], const uint32_t *rows, size_t row_stride, int count,
                 const uint32_t *columns, size_t pair_stride, size_t block_stride) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = all(0);
    for (int p = 0; p < count; p++) {
        __m512i left = _mm512_loadu_si512(columns + p * pair_stride);
        __m512i right = _mm512_loadu_si512(columns + p * pair_stride + block_stride);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            sums[r][0] = dot(sums[r][0], rows[r * row_stride + p], left);
            sums[r][1] = dot(sums[r][1], rows[r * row_stride + p], right);
        }
    }
}

/* 2^x to 3e-6 of it. */
INLINE Floats power(Floats x) {
    Floats f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* x - floor(x) */
    Floats p = all(0.01353415f);
    p = _mm512_fmadd_ps(p, f, all(0.0520115f));
    p = _mm512_fmadd_ps(p, f, all(0.24144274f));
    p = _mm512_fmadd_ps(p, f, all(0.69300384f));
    p = _mm512_fmadd_ps(p, f, all(1.00000259f));
    return _mm512_scalef_ps(p, x);
}
