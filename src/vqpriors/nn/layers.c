/* RMSNorm and SwiGLU in bfloat16 or float32 and their gradients, on CPUs with AVX-512.

Compiled and called by compiled_layers.py. Each reads and writes its rows once, and computes in
float32. */

#include "avx512.h"

/* out (rows, width) = RMSNorm of x (rows, width), times the gain (width). */
void rms_norm(Number *out, const Number *x, const float *gain, int64_t rows, int width,
              float epsilon, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const Number *in = x + row * width;
        Floats scale = all(norm_scale(in, width, epsilon));
        for (int c = 0; c < width; c += LANES) {
            __mmask16 seen = lanes(width - c);
            Floats by = _mm512_maskz_loadu_ps(seen, gain + c);
            Floats unit = _mm512_mul_ps(load(in + c, seen), scale);
            store(out + row * width + c, seen, _mm512_mul_ps(unit, by));
        }
    }
}

/* for_x (rows, width) and for_gain (rows / chunk rounded up, width), the gradients; those of the
gain are to be summed over the chunks of rows. */
void rms_norm_backward(Number *for_x, float *for_gain, const Number *gradient,
                       const Number *x, const float *gain, int64_t rows, int width, int chunk,
                       float epsilon, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t first = 0; first < rows; first += chunk) {
        float *own_gain = for_gain + first / chunk * width;
        int64_t last = first + chunk < rows ? first + chunk : rows;
        memset(own_gain, 0, sizeof(float) * width);
        for (int64_t row = first; row < last; row++) {
            const Number *in = x + row * width, *above = gradient + row * width;
            Floats scale = all(norm_scale(in, width, epsilon)), sum = all(0);
            for (int c = 0; c < width; c += LANES) {
                __mmask16 seen = lanes(width - c);
                Floats unit = _mm512_mul_ps(load(in + c, seen), scale);
                Floats product = _mm512_mul_ps(load(above + c, seen), unit);
                Floats so_far = _mm512_maskz_loadu_ps(seen, own_gain + c);
                _mm512_mask_storeu_ps(own_gain + c, seen, _mm512_add_ps(so_far, product));
                sum = _mm512_fmadd_ps(product, _mm512_maskz_loadu_ps(seen, gain + c), sum);
            }
            Floats along = all(_mm512_reduce_add_ps(sum) / width);
            for (int c = 0; c < width; c += LANES) {
                __mmask16 seen = lanes(width - c);
                Floats unit = _mm512_mul_ps(load(in + c, seen), scale);
                Floats by = _mm512_maskz_loadu_ps(seen, gain + c);
                Floats scaled = _mm512_mul_ps(load(above + c, seen), by);
                Floats found = _mm512_mul_ps(_mm512_fnmadd_ps(unit, along, scaled), scale);
                store(for_x + row * width + c, seen, found);
            }
        }
    }
}

/* out (rows, width) = silu(gate) * up, for x (rows, 2 width) of gate and up. */
void swiglu(Number *out, const Number *x, int64_t rows, int width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const Number *in = x + row * 2 * width;
        for (int c = 0; c < width; c += LANES) {
            __mmask16 seen = lanes(width - c);
            Floats gate = load(in + c, seen), up = load(in + width + c, seen);
            store(out + row * width + c, seen, _mm512_mul_ps(silu(gate), up));
        }
    }
}

/* for_x (rows, 2 width), the gradient of x, given that of the output. */
void swiglu_backward(Number *for_x, const Number *gradient, const Number *x, int64_t rows,
                     int width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const Number *in = x + row * 2 * width;
        Number *out = for_x + row * 2 * width;
        for (int c = 0; c < width; c += LANES) {
            __mmask16 seen = lanes(width - c);
            Floats above = load(gradient + row * width + c, seen);
            Floats gate = load(in + c, seen), up = load(in + width + c, seen);
            Floats share = sigmoid(gate), by = _mm512_mul_ps(gate, share);
            /* silu' = sigmoid (1 + x - silu) */
            Floats slope = _mm512_mul_ps(share, _mm512_sub_ps(_mm512_add_ps(all(1), gate), by));
            store(out + c, seen, _mm512_mul_ps(_mm512_mul_ps(above, up), slope));
            store(out + width + c, seen, _mm512_mul_ps(above, by));
        }
    }
}
