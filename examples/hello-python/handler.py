"""Greets whoever the event names."""


def main(event, context):
    name = event.get("name", "World")
    print(f"greeting {name}")
    return {"message": f"Hello, {name}!", "function": context.function_name}
