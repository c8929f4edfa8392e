"""Parent of one runner of the process driver; a program of its own, standard library only.

``python -I -S process_launcher.py '<json>'`` with `argv env folder uid nproc nofile fsize_bytes network read_all`.

It fences the runner in, starts it, and adopts whatever the runner's children leave behind: nothing gets out of its
tree. Standard output tells the driver ``pid <n>`` and, at the end, ``exit <code>`` or ``signal <number>``. A byte on
standard input, or its end (the worker died), makes it kill everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from process_tree import descendants  # type: ignore[import-not-found]

del sys.path[0]

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 8, 36, 38, 47
CLONE_NEWIPC, CLONE_NEWNET = 0x08000000, 0x40000000
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION = 0x20080522
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
KILL_SEC = 10.0

libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    plan: dict[str, Any] = json.loads(sys.argv[1])
    if LINUX:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if LINUX else os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    parent = os.getpid()
    runner = os.fork()
    if not runner:
        become_runner(plan, parent)
    tell(f"pid {runner}")
    status = watch(runner, wake_read)
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
        tell(f"exit {code}" if code >= 0 else f"signal {-code}")
    kill_all(plan.get("uid"))
    return 0


def tell(line: str) -> None:
    with contextlib.suppress(OSError):  # the worker is gone: there is nobody to tell
        os.write(1, f"{line}\n".encode())


def watch(runner: int, wake: int) -> int | None:
    """Until the runner ends (its wait status) or the driver wants the end (None)."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if wake in ready:
            os.read(wake, 512)
            status = reap(runner)
            if status is not None:
                return status
        if 0 in ready:
            return None


def reap(runner: int) -> int | None:
    """Bury dead children, adopted ones too. The runner's status when it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == runner:
                found = status
    return found


def kill_all(uid: int | None) -> None:
    """Kill the tree, also one that forks as fast as it can."""
    until = time.monotonic() + KILL_SEC
    while time.monotonic() < until:
        if uid is not None:
            kill_user(uid)
        pids = descendants(os.getpid())
        for number in (signal.SIGSTOP, signal.SIGKILL):  # what is stopped doesn't fork
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def kill_user(uid: int) -> None:
    """Kill all processes of the sandbox's own user in one stroke: the kernel walks the list, nobody forks past it."""
    child = os.fork()
    if not child:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def become_runner(plan: dict[str, Any], parent: int) -> NoReturn:
    """Fence this process in and turn it into the runner. Does not return."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.chdir(plan["folder"])
        take_streams()
        set_limits(plan)
        if LINUX:
            leave_namespaces(plan)
        if plan["uid"] is not None:
            change_user(plan["uid"], plan["read_all"])
        os.umask(0o077)
        if LINUX:
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            # After the change of user, which would clear it.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        os.execve(plan["argv"][0], plan["argv"], plan["env"])
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(127)


def take_streams() -> None:
    """Nothing to read; what is said before the runner has its own streams goes to boot.log."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open("boot.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)


def set_limits(plan: dict[str, Any]) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: plan["nofile"],
        resource.RLIMIT_FSIZE: plan["fsize_bytes"],
        resource.RLIMIT_NPROC: plan["nproc"],
    }
    for which, value in wanted.items():
        most = resource.getrlimit(which)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(which, (value, value))
    # When the machine runs out of memory, a sandbox goes first, not the worker.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def leave_namespaces(plan: dict[str, Any]) -> None:
    """Without a network where the system lets us; shared memory of its own in any case."""
    libc.unshare(CLONE_NEWIPC)
    if plan["network"] != "none" or libc.unshare(CLONE_NEWNET):
        return
    import fcntl
    import socket

    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def change_user(uid: int, read_all: bool) -> None:
    """Become an unprivileged user; with `read_all` one who may read every file, where the interpreter needs it."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    if not (read_all and LINUX):
        os.setresuid(uid, uid, uid)
        return
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresuid(uid, uid, uid)
    bit = 1 << CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", CAPABILITY_VERSION, 0)
    if libc.capset(header, struct.pack("6I", bit, bit, bit, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capset failed")
    libc.prctl(PR_CAP_AMBIENT, 2, CAP_DAC_READ_SEARCH, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
