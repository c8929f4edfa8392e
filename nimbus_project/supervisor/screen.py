"""What a person sees: the parts' lines, the supervisor's own, and the banner."""

from __future__ import annotations

import sys
from typing import IO

_COLOURS = ("36", "35", "34", "32", "33")
_OWN, _WARNING, _ERROR = "1", "1;33", "1;31"
_WIDTH = 10


class Screen:
    """On a terminal each line is marked with its part. Elsewhere the parts' JSON goes through as it is."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._on_terminal = self._stream.isatty()
        self._colour_of: dict[str, str] = {}
        self._is_open = True

    def line(self, part: str, text: str) -> None:
        """One line of a part's output."""
        if self._on_terminal:
            colour = self._colour_of.setdefault(part, _COLOURS[len(self._colour_of) % len(_COLOURS)])
            text = f"\x1b[{colour}m{part:<{_WIDTH}}\x1b[0m {text}"
        self._write(text)

    def say(self, text: str) -> None:
        self._own(_OWN, text)

    def warn(self, text: str) -> None:
        self._own(_WARNING, f"WARNING: {text}")

    def error(self, text: str) -> None:
        self._own(_ERROR, f"ERROR: {text}")

    def banner(self, text: str) -> None:
        self._write(text)

    def _own(self, colour: str, text: str) -> None:
        name = f"{'nimbus':<{_WIDTH}}"
        self._write(f"\x1b[{colour}m{name} {text}\x1b[0m" if self._on_terminal else f"{name} {text}")

    def _write(self, text: str) -> None:
        if not self._is_open:
            return
        try:
            print(text, file=self._stream, flush=True)
        except (OSError, ValueError):
            # The terminal or the reader of the pipe is gone; the parts go on, or are being ended.
            self._is_open = False


def banner(*, base_url: str, driver: str, state: str, seconds: float) -> str:
    """Where it is, and the two commands of the quick start."""
    code = r'"code":"def main(event):\n    return {\"message\": \"Hello \" + event.get(\"name\", \"World\")}"'
    create = f'{{"name":"hello","runtime":"python3.11","handler":"handler.main",{code}}}'
    header = "-H 'Content-Type: application/json'"
    return f"""
NIMBUS is ready, {seconds:.1f} s after its start. Ctrl-C ends it.

  address    {base_url}
  API docs   {base_url}/api/docs
  sandboxes  {driver}
  state      {state}

Create a function and call it:

  curl -X POST {base_url}/api/v1/functions {header} -d '{create}'
  curl -X POST {base_url}/api/v1/functions/hello/invoke {header} -d '{{"name":"Nimbus"}}'
"""
