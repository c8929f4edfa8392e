NAMES = ("request_id", "function_name", "function_version", "memory_limit_mb", "timeout_sec")
NAMES += ("alias", "attempt", "trigger_type", "invocation_id")


def main(event, context):
    left = context.remaining_time_ms()
    assert all(getattr(context, name) == context.get(name) for name in NAMES)
    assert context.get("no_such_thing", 7) == 7
    return {name: context.get(name) for name in NAMES} | {"left": 0 < left <= context.timeout_sec * 1000}
