#include <stdio.h>

static int count = 0;

int main(void)
{
    printf("%d\n", ++count);
    return 0;
}
