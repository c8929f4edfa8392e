/* The library's form, and what can be wrong with it, by the event's text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count = 0;

void *alloc(size_t size)
{
    return malloc(size);
}

static uint64_t packed(const char *text, size_t size)
{
    return ((uint64_t)(uintptr_t)text << 32) | size;
}

uint64_t handle(const char *event, size_t size)
{
    static char answer[32];
    const char *names[] = {"prints", "counts", "panics", "spin", "exits_0", "exits_3", "points_outside", "result_empty",
                           "result_text", "result_large"};
    int which = -1;
    for (int n = 0; n < 10; n++)
        if (size == strlen(names[n]) + 2 && memcmp(event + 1, names[n], size - 2) == 0)
            which = n;
    switch (which) {
    case 0:
        puts("out");
        fputs("err\n", stderr);
        fputs("unfinished", stdout);
        break;
    case 1:
        return packed(answer, sprintf(answer, "%d", ++count));
    case 2:
        abort();
    case 3:
        for (volatile int n = 0;; n++) {
        }
    case 4:
        exit(0);
    case 5:
        exit(3);
    case 6:
        return packed((const char *)0xffff0000, 10);
    case 7:
        return 0;
    case 8:
        return packed("Hello", 5);
    case 9: {
        char *much = malloc(7 << 20);
        memset(much, '1', 7 << 20);
        return packed(much, 7 << 20);
    }
    }
    return packed(event, size);
}
