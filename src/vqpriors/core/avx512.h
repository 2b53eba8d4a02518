/* Vectors of float32 numbers, for CPUs with AVX-512. Memory holds float32 if FLOAT32 is defined,
otherwise bfloat16, which needs AVX-512 BF16. */

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 16   /* float32 numbers in a register */
#define ROWS 8     /* rows of a tile, which is computed in registers */
#define COLUMNS 32 /* columns of a tile */
#define LOG2_E 1.44269504f
#define INLINE static inline __attribute__((always_inline))

typedef __m512 Floats;
#ifdef FLOAT32
typedef float Number; /* what memory holds */
#else
typedef uint16_t Number;
#endif
#define GROUP ((int)(4 / sizeof(Number))) /* adjacent numbers that are multiplied at a time */

INLINE int padded(int number, int to) { return (number + to - 1) / to * to; }
INLINE int least(int a, int b) { return a < b ? a : b; }

/* The first `count` lanes, or all if there are fewer. */
INLINE __mmask16 lanes(int count) {
    return (__mmask16)(count >= LANES ? 0xffff : count <= 0 ? 0 : (1u << count) - 1);
}

INLINE Floats all(float number) { return _mm512_set1_ps(number); }

INLINE Floats load(const Number *numbers, __mmask16 seen) {
#ifdef FLOAT32
    return _mm512_maskz_loadu_ps(seen, numbers);
#else
    __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(seen, numbers));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
#endif
}

/* Rounded to the nearest. */
INLINE void store(Number *numbers, __mmask16 seen, Floats x) {
#ifdef FLOAT32
    _mm512_mask_storeu_ps(numbers, seen, x);
#else
    _mm256_mask_storeu_epi16(numbers, seen, (__m256i)_mm512_cvtneps_pbh(x));
#endif
}

INLINE void store_two(Number *numbers, Floats left, Floats right) {
#ifdef FLOAT32
    _mm512_storeu_ps(numbers, left);
    _mm512_storeu_ps(numbers + LANES, right);
#else
    _mm512_storeu_si512(numbers, (__m512i)_mm512_cvtne2ps_pbh(right, left));
#endif
}

/* Write GROUP rows of COLUMNS numbers as groups, one for each column. */
INLINE void store_groups(uint32_t *groups, Floats rows[GROUP][2]) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
#ifdef FLOAT32
        _mm512_storeu_ps(groups + j * LANES, rows[0][j]);
#else
        __m512i both = (__m512i)_mm512_cvtne2ps_pbh(rows[1][j], rows[0][j]);
        __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        __m512i other = _mm512_add_epi32(lane, _mm512_set1_epi32(LANES));
        __m512i order = _mm512_or_si512(lane, _mm512_slli_epi32(other, 16));
        _mm512_storeu_si512(groups + j * LANES, _mm512_permutexvar_epi16(order, both));
#endif
    }
}

/* One over the root mean square of a row. */
INLINE float norm_scale(const Number *row, int width, float epsilon) {
    Floats sum = all(0);
    for (int c = 0; c < width; c += LANES) {
        Floats x = load(row + c, lanes(width - c));
        sum = _mm512_fmadd_ps(x, x, sum);
    }
    return 1 / sqrtf(_mm512_reduce_add_ps(sum) / width + epsilon);
}

/* sum + the products of a group of numbers with that of each lane. */
INLINE Floats dot(Floats sum, uint32_t group, __m512i column) {
    __m512i groups = _mm512_set1_epi32((int)group);
#ifdef FLOAT32
    return _mm512_fmadd_ps(_mm512_castsi512_ps(groups), _mm512_castsi512_ps(column), sum);
#else
    return _mm512_dpbf16_ps(sum, (__m512bh)groups, (__m512bh)column);
#endif
}

/* sums += ROWS rows of `count` groups times COLUMNS columns, in two blocks of LANES. Group p of
row r is rows[r * row_stride + p * step]. */
INLINE void add_tile(Floats sums[ROWS][2], const uint32_t *rows, size_t row_stride, size_t step,
                     int count, const uint32_t *columns, size_t group_stride,
                     size_t block_stride) {
    for (int p = 0; p < count; p++) {
        __m512i left = _mm512_loadu_si512(columns + p * group_stride);
        __m512i right = _mm512_loadu_si512(columns + p * group_stride + block_stride);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            uint32_t group = rows[r * row_stride + p * step];
            sums[r][0] = dot(sums[r][0], group, left);
            sums[r][1] = dot(sums[r][1], group, right);
        }
    }
}

/* As `add_tile`, but sums start at 0, and the groups of a row are adjacent. */
INLINE void tile(Floats sums[ROWS][2], const uint32_t *rows, size_t row_stride, int count,
                 const uint32_t *columns, size_t group_stride, size_t block_stride) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = all(0);
    add_tile(sums, rows, row_stride, 1, count, columns, group_stride, block_stride);
}

/* out (length / LANES, width / GROUP, LANES) = the groups of rows (length, width), for products
over the width. */
INLINE void pack_columns(uint32_t *out, const Number *rows, int length, int width) {
    int groups = width / GROUP;
    for (int block = 0; block < length / LANES; block++, out += LANES * groups)
        for (int lane = 0; lane < LANES; lane++, rows += width)
            for (int group = 0; group < groups; group++)
                memcpy(out + group * LANES + lane, rows + GROUP * group, 4);
}

/* out (length / GROUP, width) = the groups of rows (length, width), for products over the length;
rows are `stride` apart. */
INLINE void pack_groups(uint32_t *out, const Number *rows, size_t stride, int length, int width) {
    for (int n = 0; n < length; n += GROUP, rows += GROUP * stride, out += width) {
#ifdef FLOAT32
        memcpy(out, rows, sizeof(float) * width);
#else
        for (int c = 0; c < width; c++) out[c] = rows[c] | (uint32_t)rows[stride + c] << 16;
#endif
    }
}

/* 2^x to 3e-6 of it, or to 1e-7 with float32 numbers. */
INLINE Floats power(Floats x) {
    Floats f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* x - floor(x) */
#ifdef FLOAT32
    const float terms[] = {0.0002170224612f, 0.001243969057f, 0.009678840695f, 0.05548334214f,
                           0.2402298362f, 0.6931469838f, 1.000000002f};
#else
    const float terms[] = {0.01353415f, 0.0520115f, 0.24144274f, 0.69300384f, 1.00000259f};
#endif
    Floats p = all(terms[0]);
#pragma GCC unroll 8
    for (size_t i = 1; i < sizeof terms / sizeof *terms; i++)
        p = _mm512_fmadd_ps(p, f, all(terms[i]));
    return _mm512_scalef_ps(p, x);
}

INLINE Floats sigmoid(Floats x) {
    return _mm512_div_ps(all(1), _mm512_add_ps(all(1), power(_mm512_mul_ps(x, all(-LOG2_E)))));
}

INLINE Floats silu(Floats x) { return _mm512_mul_ps(x, sigmoid(x)); }
