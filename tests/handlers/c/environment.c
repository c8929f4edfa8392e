#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(void)
{
    const char *colour = getenv("COLOUR");
    printf("{\"at_import\": \"%s\", \"now\": \"%s\", \"names\": [", colour, colour);
    for (char **entry = environ; *entry; entry++)
        printf("%s\"%.*s\"", entry == environ ? "" : ", ", (int)strcspn(*entry, "="), *entry);
    puts("]}");
    return 0;
}
