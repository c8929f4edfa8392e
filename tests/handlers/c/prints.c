#include <stdio.h>

int main(void)
{
    fputs("one\n", stderr);
    fputs("thr", stderr);
    fputs("ee\nunfinished", stderr);
    puts("null");
    return 0;
}
