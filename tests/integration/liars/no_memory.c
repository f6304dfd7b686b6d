/* Preloaded into guest-pull by test_memory.py: memory runs out at the allocation number NO_MEMORY_AT, for that one
 * alone or (NO_MEMORY_FOR_GOOD set) for all that follow. NO_MEMORY_COUNT=file: how many there were is written there at
 * the end. Workers have no such environment. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static atomic_long count;
static long at;
static int for_good;

static void __attribute__((constructor)) begin(void)
{
    const char *number = getenv("NO_MEMORY_AT");
    for_good = getenv("NO_MEMORY_FOR_GOOD") != NULL;
    at = number ? atol(number) : 0;
}

static void __attribute__((destructor)) end(void)
{
    const char *path = getenv("NO_MEMORY_COUNT");
    FILE *out = path ? fopen(path, "w") : NULL;
    if (out) {
        fprintf(out, "%ld\n", atomic_load(&count));
        fclose(out);
    }
}

static int fails(void)
{
    long number = atomic_fetch_add(&count, 1) + 1;
    if (at == 0 || number < at || (!for_good && number > at))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    return fails() ? NULL : __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **place, size_t alignment, size_t size)
{
    void *made = fails() ? NULL : __libc_memalign(alignment, size);
    if (!made)
        return ENOMEM;
    *place = made;
    return 0;
}
