/* Greets whoever the event names. The name is copied as the JSON string that it is, escapes and all. */
#include <stdio.h>
#include <string.h>

/* The end of the string that begins at `text`, after its opening quote; NULL when it has none. */
static const char *end_of_string(const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' && text[1])
            text++;
        else if (*text == '"')
            return text;
    }
    return NULL;
}

int main(void)
{
    static char event[65536];
    size_t size = fread(event, 1, sizeof event - 1, stdin);
    event[size] = '\0';
    const char *key = strstr(event, "\"name\"");
    const char *colon = key ? strchr(key + 6, ':') : NULL;
    const char *name = colon ? strchr(colon, '"') : NULL;
    const char *end = name ? end_of_string(name + 1) : NULL;
    if (!end) {
        fputs("the event has no name\n", stderr);
        return 1;
    }
    printf("{\"message\": \"Hello, %.*s!\"}", (int)(end - name - 1), name + 1);
    return 0;
}
