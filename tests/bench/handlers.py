"""The functions that are called."""

from __future__ import annotations

HELLO = 'def main(event):\n    return {"message": "Hello " + event.get("name", "World")}\n'
HELLO_NODE = "exports.main = (event) => ({ message: 'Hello ' + (event.name ?? 'World') });\n"
ECHO = "def main(event):\n    return event\n"
