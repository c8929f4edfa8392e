"""The children of the supervisor: started, listened to, started again, ended in order. One thread, one selector."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nimbus_project.supervisor.child import Child, how_it_ended
from nimbus_project.supervisor.parts import Part, Stage
from nimbus_project.supervisor.screen import Screen

KEPT_LINES = 50
QUICK_DEATH_SEC = 10.0
QUICK_DEATHS_ALLOWED = 5
_BACK_OFF_SEC = (0.2, 0.5, 1.0, 2.0, 4.0)
_TICK_SEC = 0.5


class Stopped(Exception):
    """A signal asked for the end while something was waited for."""


class GaveUp(Exception):
    """A part that the platform can't do without does not stay up."""


@dataclass(slots=True)
class _Post:
    """A part and who does it now."""

    part: Part
    child: Child | None = None
    quick_deaths: int = 0
    start_at: float = 0.0
    exit_code: int | None = None
    kept: deque[str] | None = None
    """Output kept instead of shown."""


class Crew:
    """All children. `tick` does whatever is due; everything else is built on it."""

    def __init__(self, screen: Screen, env: dict[str, str], metrics_dir: Path | None) -> None:
        self.selector = selectors.DefaultSelector()
        self.stop_signals = 0
        self.a_worker_crashed = False
        self._screen = screen
        self._env = env
        self._metrics_dir = metrics_dir
        self._posts: list[_Post] = []
        self._is_ending = False
        self._wake()

    def _wake(self) -> None:
        """Signals, and the end of a child, interrupt the wait."""
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        self._wakeup = sender
        self.selector.register(receiver, selectors.EVENT_READ, lambda: receiver.recv(4096))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def _on_stop(self, *_: object) -> None:
        self.stop_signals += 1

    # -- while it runs

    def add(self, part: Part, *, keep_output: bool = False) -> None:
        post = _Post(part, kept=deque(maxlen=KEPT_LINES) if keep_output or part.is_quiet else None)
        self._posts.append(post)
        self._start(post)

    def wait_until(self, condition: Callable[[], object], bound_sec: float | None = None) -> bool:
        """Look after everything until the condition is true. False when the bound passes first. Raises Stopped when
        asked to end, GaveUp when that is hopeless."""
        deadline = None if bound_sec is None else time.monotonic() + bound_sec
        while not condition():
            if self.stop_signals:
                raise Stopped
            if deadline is not None and time.monotonic() > deadline:
                return False
            self.tick()
        return True

    def finish(self, parts: Iterable[Part]) -> list[int]:
        """Wait for parts that end by themselves; their exit codes."""
        posts = [self._post(part) for part in parts]
        self.wait_until(lambda: all(post.exit_code is not None for post in posts))
        return [post.exit_code or 0 for post in posts]

    def output_of(self, part: Part) -> list[str]:
        """The lines kept of a part."""
        return list(self._post(part).kept or ())

    def tick(self, longest_sec: float = _TICK_SEC) -> None:
        due = [post.start_at for post in self._posts if post.start_at]
        wait = min([longest_sec, *(max(0.0, at - time.monotonic()) for at in due)])
        for key, _ in self.selector.select(wait):
            key.data()
        for post in list(self._posts):
            self._reap(post)
        if not self._is_ending:
            for post in self._posts:
                if post.start_at and post.start_at <= time.monotonic():
                    self._start(post)

    def _post(self, part: Part) -> _Post:
        return next(post for post in self._posts if post.part is part)

    def _start(self, post: _Post) -> None:
        post.start_at = 0.0
        post.child = child = Child(post.part, self._env)
        if child.process.stdout is not None:
            self.selector.register(child.process.stdout, selectors.EVENT_READ, lambda: self._listen(post, child))

    def _listen(self, post: _Post, child: Child) -> None:
        lines = child.lines()
        if lines is None:
            self._deafen(child)
        else:
            self._show(post, lines)

    def _deafen(self, child: Child) -> None:
        output = child.process.stdout
        if output is not None and output in self.selector.get_map():
            self.selector.unregister(output)

    def _show(self, post: _Post, lines: list[str]) -> None:
        if post.kept is not None:
            post.kept += lines
            return
        for line in lines:
            self._screen.line(post.part.name, line)

    def _reap(self, post: _Post) -> None:
        child = post.child
        if child is None or (code := child.process.poll()) is None:
            return
        self._deafen(child)
        self._show(post, child.last_lines())
        post.child, post.exit_code = None, code
        self._forget_gauges(child.pid)
        if post.part.is_lasting:
            self.a_worker_crashed |= post.part.stage is Stage.WORK and code != 0
            if not self._is_ending:
                self._plan_restart(post, child.age_sec, code)

    def _plan_restart(self, post: _Post, age_sec: float, code: int) -> None:
        name, how = post.part.name, how_it_ended(code)
        while post.kept:
            self._screen.line(name, post.kept.popleft())
        post.quick_deaths = post.quick_deaths + 1 if age_sec < QUICK_DEATH_SEC else 1
        if post.quick_deaths >= QUICK_DEATHS_ALLOWED:
            raise GaveUp(
                f"{name} ended {post.quick_deaths} times in a row within {QUICK_DEATH_SEC:.0f} s of its start, "
                f"last with {how}. Its output above says why."
            )
        delay = _BACK_OFF_SEC[min(post.quick_deaths - 1, len(_BACK_OFF_SEC) - 1)]
        post.start_at = time.monotonic() + delay
        self._screen.warn(f"{name} ended ({how}) and is started again in {delay:g} s.")

    def _forget_gauges(self, pid: int) -> None:
        """A dead process counts no sandboxes (what prometheus_client's `mark_process_dead` does)."""
        if self._metrics_dir is not None:
            for path in self._metrics_dir.glob(f"gauge_live*_{pid}.db"):
                path.unlink(missing_ok=True)

    # -- the end

    def end(self) -> None:
        """Stage by stage: ask, wait for as long as the part may take, kill. Another signal kills at once."""
        self._is_ending = True
        heard = self.stop_signals
        for stage in Stage:
            posts = [post for post in self._posts if post.part.stage is stage and post.child is not None]
            for post in posts:
                if post.child is not None:
                    post.child.send(signal.SIGTERM)
            asked_at = time.monotonic()
            while waiting := [post for post in posts if post.child is not None]:
                self.tick()
                for post in waiting:
                    is_late = time.monotonic() - asked_at > post.part.stop_sec
                    if post.child is not None and (is_late or self.stop_signals > heard):
                        self._kill(post, post.child, is_late=is_late)

    def run_bounded(self, part: Part, bound_sec: float) -> None:
        """After the end: one more thing to do, whatever signals come, and not for ever."""
        post = _Post(part)
        self._posts.append(post)
        self._start(post)
        deadline = time.monotonic() + bound_sec
        while post.child is not None:
            self.tick()
            if post.child is not None and time.monotonic() > deadline:
                self._kill(post, post.child, is_late=True)

    def _kill(self, post: _Post, child: Child, *, is_late: bool) -> None:
        reason = f"did not end within {post.part.stop_sec:.0f} s" if is_late else "was not given time to end"
        self._screen.warn(f"{post.part.name} {reason} and is killed.")
        child.kill()
        child.process.wait()
