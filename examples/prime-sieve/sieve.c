/* The sieve of Eratosthenes: {"limit": n} on stdin, the result on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 20000000UL

static unsigned long limit_of(const char *event)
{
    const char *name = strstr(event, "\"limit\"");
    const char *colon = name ? strchr(name, ':') : NULL;
    return colon ? strtoul(colon + 1, NULL, 10) : 0;
}

int main(void)
{
    char event[256];
    size_t size = fread(event, 1, sizeof event - 1, stdin);
    event[size] = '\0';
    unsigned long limit = limit_of(event);
    if (limit < 2 || limit > MOST) {
        fprintf(stderr, "limit must be from 2 to %lu\n", MOST);
        return 1;
    }
    unsigned char *composite = calloc(limit + 1, 1);
    if (!composite)
        return 1;
    unsigned long count = 0, last = 0;
    for (unsigned long n = 2; n <= limit; n++) {
        if (composite[n])
            continue;
        count++;
        last = n;
        for (unsigned long long multiple = (unsigned long long)n * n; multiple <= limit; multiple += n)
            composite[multiple] = 1;
    }
    printf("{\"limit\": %lu, \"primes\": %lu, \"largest\": %lu}", limit, count, last);
    return 0;
}
