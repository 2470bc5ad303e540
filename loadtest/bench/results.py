"""What was measured, beside its goals, as Markdown and JSON."""

import dataclasses
import datetime
import json
import os
import platform


@dataclasses.dataclass
class Goal:
    what: str
    seen: str
    met: bool


@dataclasses.dataclass
class Result:
    """One line of the table. CPU is in microseconds of one core an operation, by process."""

    scenario: str
    title: str
    unit: str
    operations: int = 0
    seconds: float = 0.0
    micros: dict = dataclasses.field(default_factory=dict)
    others: float = 0.0  # cores that everything else on the machine used meanwhile
    peak_mb: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    ceiling: str = ""
    ceiling_rate: float | None = None
    goals: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    @property
    def rate(self):
        return self.operations / self.seconds if self.seconds else 0.0

    def metered(self, meter, operations):
        self.operations, self.seconds = operations, meter.seconds
        self.micros, self.others = meter.micros(operations), meter.others
        return self

    def also_daemon(self, seconds):
        """What a program used that ran for this alone and has ended."""
        self.micros = {"daemon": seconds / self.operations * 1e6} | self.micros
        return self

    def at_least(self, goal, seen, what="{:,.0f}/s"):
        self.goals.append(Goal("≥ " + what.format(goal), what.format(seen), seen >= goal))
        return self

    def at_most(self, goal, seen, what):
        self.goals.append(Goal("≤ " + what.format(goal), what.format(seen), seen <= goal))
        return self

    def under(self, what, rate):
        """The ceiling of the same run."""
        self.ceiling, self.ceiling_rate = what, rate
        return self

    def line(self):
        def micros(name):
            return f"{self.micros[name]:.1f}" if name in self.micros else ""

        def some(value, form="{:.0f}"):
            return "" if value is None else form.format(value)

        ratio = ""
        if self.ceiling_rate:
            ratio = f"{self.rate / self.ceiling_rate:.2f} of {self.ceiling_rate:,.0f}/s ({self.ceiling})"
        goals = "; ".join(f"{goal.what}: {'met' if goal.met else f'**missed** ({goal.seen})'}" for goal in self.goals)
        return [self.title, f"{self.rate:,.0f} {self.unit}/s",
                *map(micros, ("daemon", "postgres", "rabbitmq", "sink")),
                some(self.peak_mb), some(self.p50_ms, "{:.1f}"), some(self.p99_ms, "{:.1f}"), ratio, goals,
                f"{self.others:.2f}", "; ".join(self.notes)]


HEAD = ["scenario", "rate", "daemon µs", "PostgreSQL µs", "RabbitMQ µs", "sink µs", "peak MB", "p50 ms", "p99 ms",
        "of its ceiling", "goals", "others' cores", "notes"]


def markdown(results, quick):
    lines = [HEAD, ["---"] * len(HEAD)] + [result.line() for result in results]
    small = "**Quick: too small to measure anything; it shows that the scenarios run.**\n\n" if quick else ""
    return small + machine() + "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} × {model}, Linux {platform.release()}; all on this one machine."


def write(results, folder, quick):
    table = markdown(results, quick)
    (folder / "bench.md").write_text(table)
    rows = [dataclasses.asdict(result) | {"rate": result.rate} for result in results]
    (folder / "bench.json").write_text(json.dumps({"quick": quick, "machine": machine(), "results": rows}, indent=1))
    return table
