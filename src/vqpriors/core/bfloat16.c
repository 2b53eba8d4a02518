/* Says whether this processor and compiler have AVX-512 BF16, which bfloat16.h needs. */

#ifdef __AVX512BF16__
#include "bfloat16.h"

int is_supported(void) { return 1; }
#else
int is_supported(void) { return 0; }
#endif
