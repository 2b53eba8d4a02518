/* The level of AVX-512 of this processor and compiler: 2 with BF16, 1 without it, 0 for none. */

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#ifndef __AVX512BF16__
#define FLOAT32
#endif
#include "avx512.h"
#ifdef FLOAT32
int level(void) { return 1; }
#else
int level(void) { return 2; }
#endif
#else
int level(void) { return 0; }
#endif
