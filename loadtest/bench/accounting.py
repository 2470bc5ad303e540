"""CPU and memory of processes by the kernel's accounting, as in proc(5)."""

import os
import pathlib
import resource
import time

TICK = 1 / os.sysconf("SC_CLK_TCK")
PROC = pathlib.Path("/proc")


def tree(root):
    """A process and all its descendants that live."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for children in PROC.glob(f"{pid}/task/*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:
                pass  # ended meanwhile
    return found


def cpu_seconds(root):
    """Of the tree, with the children that it has waited for."""
    ticks = 0
    for pid in tree(root):
        try:
            stat = (PROC / str(pid) / "stat").read_text()
        except OSError:
            continue
        # The name in brackets may hold anything; utime is the 14th field, cstime the 17th.
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks * TICK


def machine_seconds():
    """What all CPUs together were busy, since the start of the machine."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK


def children_seconds():
    """Of the programs that this one started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(pid, what):
    """`VmHWM` or `VmRSS` in MB."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(what)


class Meter:
    """What named processes used between `with` and its end, and what everything did that is neither these, nor this
    program, nor what it ran meanwhile and waited for."""

    def __init__(self, **processes):
        """Names to pids; a name may have a list of them."""
        self.processes = {name: pids if isinstance(pids, list) else [pids] for name, pids in processes.items()}

    def __enter__(self):
        self.before = self._now()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        after = self._now()
        used = {name: after[name] - self.before[name] for name in after}
        self.seconds = used.pop("_wall")
        machine = used.pop("_machine")
        self.used = used
        self.others = max(0.0, machine - sum(used.values())) / self.seconds

    def _now(self):
        now = {name: sum(map(cpu_seconds, pids)) for name, pids in self.processes.items()}
        ours = resource.getrusage(resource.RUSAGE_SELF)
        bench = ours.ru_utime + ours.ru_stime + children_seconds()
        return now | {"_bench": bench, "_machine": machine_seconds(), "_wall": time.monotonic()}

    def micros(self, operations):
        """CPU time an operation by process, in microseconds."""
        return {name: used / operations * 1e6 for name, used in self.used.items() if not name.startswith("_")}
