#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    long left = atol(getenv("NIMBUS_REMAINING_MS")), most = atol(getenv("NIMBUS_TIMEOUT_SEC")) * 1000;
    printf("{\"request_id\": \"%s\", \"invocation_id\": \"%s\", ", getenv("NIMBUS_REQUEST_ID"), getenv("NIMBUS_INVOCATION_ID"));
    printf("\"function_name\": \"%s\", \"function_version\": %s, ", getenv("NIMBUS_FUNCTION_NAME"), getenv("NIMBUS_FUNCTION_VERSION"));
    printf("\"memory_limit_mb\": %s, \"timeout_sec\": %s, ", getenv("NIMBUS_MEMORY_LIMIT_MB"), getenv("NIMBUS_TIMEOUT_SEC"));
    printf("\"alias\": \"%s\", \"attempt\": %s, ", getenv("NIMBUS_ALIAS"), getenv("NIMBUS_ATTEMPT"));
    printf("\"trigger_type\": \"%s\", \"left\": %s}\n", getenv("NIMBUS_TRIGGER_TYPE"), 0 < left && left <= most ? "true" : "false");
    return 0;
}
