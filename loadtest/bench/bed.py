"""What a scenario runs on: a store with contacts, a sink, a daemon or several, and the law of the ledger at the end."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from .accounting import Meter, memory
from .services import ROOT, Failed, free_port, run, until

SCENARIOS = ROOT / "loadtest/scenarios"


class Program:
    """A program that runs until it is ended, its output in a file."""

    def __init__(self, folder, name, command, environment=None):
        self.name = name
        self.output, self.log = folder / f"{name}.out", folder / f"{name}.log"
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                        stdout=self.output.open("w"), stderr=self.log.open("w"), env=environment)
        self.pid = self.process.pid

    def lives(self):
        return self.process.poll() is None

    def wait(self, seconds):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within {seconds} s") from None
        if code:
            raise Failed(f"{self.name} ended with {code}:\n{self.log.read_text()[-2000:]}")

    def end(self, seconds=60):
        """SIGTERM, and SIGKILL for one that does not listen."""
        if self.lives():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def said(self):
        """The last whole line of its output, as JSON."""
        lines = self.output.read_text().split("\n")[:-1]
        return json.loads(lines[-1]) if lines else {}


def variables(bench, home, store, *, sink=9, public=1, admin=2):
    """The environment that the configurations of loadtest/scenarios take; what a daemon writes lies in `home`."""
    home.mkdir()
    key = bench.fcm_key | {"token_uri": f"http://127.0.0.1:{sink}/token"}
    (home / "fcm.json").write_text(json.dumps(key))
    return os.environ | {
        "BENCH_STORE": store, "BENCH_AMQP": bench.services.amqp, "BENCH_SINK": str(sink),
        "BENCH_PUBLIC": str(public), "BENCH_ADMIN": str(admin), "BENCH_DIR": str(home)}


class Daemon(Program):
    """campaignd, and the questions one may ask it."""

    def __init__(self, bed, name):
        self.public, self.admin = free_port(), free_port()
        self.environment = variables(bed.bench, bed.folder / name, bed.store, sink=bed.sink_port,
                                     public=self.public, admin=self.admin) | bed.settings
        self.command = [bed.bench.campaignd, "--config", bed.config]
        super().__init__(bed.folder, name, [*self.command, "run"], self.environment)

    def ready(self):
        if not self.lives():
            raise Failed(f"the daemon ended:\n{self.log.read_text()[-2000:]}")
        try:
            return self.ask("/readyz") is not None
        except (urllib.error.URLError, ConnectionError):
            return False

    def ask(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}")
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def campaign(self, name):
        """How it stands; empty until it is known."""
        try:
            return json.loads(self.ask(f"/v1/campaigns/{name}"))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise

    def metric(self, name):
        """The sum over its labels."""
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.ask("/metrics"), re.M)
        return sum(map(float, found))


class Bed:
    """A store, RabbitMQ without jobs and a folder, for one scenario; as a context it ends what it started."""

    def __init__(self, bench, name, *, store="postgres", template=None, sink="smtp", delay_ms=0, daemons=1,
                 marks=False, links=False, settings=None):
        """`template` is a database to begin with; `settings` are CAMPAIGND__... variables; `sink` may be nothing, or note
        the `marks` of single messages, or the `links` in mails."""
        self.bench, self.name, self.settings = bench, name, settings or {}
        self.services = bench.services
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=bench.folder))
        self.sink_port = free_port()
        self.sink, self.daemons, self.database = None, [], None
        self.sink_of, self.wanted = sink, daemons
        self.sink_marks, self.sink_links = self.folder / "sink.marks", self.folder / "sink.links"
        self.sink_options = ["--delay-ms", delay_ms]
        self.sink_options += ["--marks", self.sink_marks] if marks else []
        self.sink_options += ["--links", self.sink_links] if links else []
        if store == "postgres":
            self.config = SCENARIOS / "config.toml"
            self.database = f"bench_{name}"
            self.store = self.services.create(self.database, template)
            run(bench.loadtest, "drive", "empty", "--amqp", self.services.amqp)
        else:
            self.config, self.store = SCENARIOS / "sqlite.toml", ""

    def __enter__(self):
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self):
        if self.sink_of:
            self.sink = Program(self.folder, "sink", [
                self.bench.loadtest, "sink", "--of", self.sink_of, "--listen", f"127.0.0.1:{self.sink_port}",
                *self.sink_options])
            until("the sink", self.sink.said)
        for number in range(self.wanted):
            self.daemons.append(Daemon(self, f"daemon{number}"))
            until("a daemon", self.daemons[-1].ready)
        return self

    def __exit__(self, *_):
        for program in [*self.daemons, self.sink]:
            if program:
                program.end()
        if self.database:
            self.services.drop(self.database)
        shutil.rmtree(self.folder)

    @property
    def daemon(self):
        return self.daemons[0]

    def meter(self, **more):
        processes = {"daemon": [daemon.pid for daemon in self.daemons]}
        if self.database:
            processes |= self.services.pids
        if self.sink:
            processes["sink"] = self.sink.pid
        return Meter(**processes, **more)

    def enqueue(self, job):
        """By RabbitMQ where there is one, else by HTTP."""
        file = self.folder / "job.json"
        file.write_text(json.dumps(job))
        if self.database:
            run(*self.daemon.command, "enqueue", file, env=self.daemon.environment)
        else:
            self.daemon.ask("/v1/jobs", file.read_bytes())

    def wait_settled(self, names, recipients, every=0.1):
        """Until so many recipients of these campaigns are settled in the ledger."""
        seconds = 120 + recipients / 500

        def settled():
            alive = [daemon for daemon in self.daemons if daemon.lives()]
            if len(alive) < len(self.daemons):
                raise Failed(f"a daemon ended:\n{self.daemon.log.read_text()[-2000:]}")
            return sum(self.daemon.campaign(name).get("settled", 0) for name in names) >= recipients

        until(f"the end of {len(names)} campaigns", settled, seconds, every)

    def peak_memory(self):
        """MB of the biggest daemon."""
        return max(memory(daemon.pid, "VmHWM") for daemon in self.daemons)

    def check_law(self, names, handed_over=None):
        """Every recipient has one row and every row a state; the sink took what was accepted, and not one more."""
        accepted = 0
        for name in names:
            until(f"the end of {name}", lambda: self.daemon.campaign(name).get("status") in ("finished", "standing"))
            record, report = self.daemon.campaign(name), json.loads(self.daemon.ask(f"/v1/campaigns/{name}/report"))
            states = report["states"]
            rows, took = self._rows(name)
            counted = states.get("accepted", 0) + states.get("delivered", 0)
            told = {"targeted": record["targeted"], "sum of states": sum(states.values()), "rows": rows}
            if len(set(told.values())) != 1 or took != counted:
                raise Failed(f"the law of the ledger is broken in {name}: {told}, {took} of {counted} rows accepted")
            accepted += took
        if imbalance := sum(daemon.metric("campaignd_ledger_imbalance") for daemon in self.daemons):
            raise Failed(f"campaignd_ledger_imbalance is {imbalance}")
        if handed_over is None and self.sink:
            before = -1
            # The sink tells of itself each second.
            while (handed_over := self.sink.said()["messages"]) != before:
                before = handed_over
                time.sleep(1.1)
        if handed_over is not None and handed_over != accepted:
            raise Failed(f"the sink took {handed_over} messages, the ledger has {accepted} accepted")

    def _rows(self, name):
        """Rows in the ledger, and those that the provider took; counted one by one."""
        numbers = f"SELECT number FROM campaigns WHERE id = '{name}'"
        accepted = "SELECT count(*), coalesce(sum(CASE WHEN state IN (3, 4) THEN 1 ELSE 0 END), 0) FROM deliveries"
        if self.database:
            rows = [0, 0]
            for number in self.services.sql(self.database, numbers).split():
                part = self.services.sql(self.database, f"{accepted} WHERE campaign = {number}").split("|")
                rows = [row + int(more) for row, more in zip(rows, part)]
            return tuple(rows)
        import sqlite3
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/daemon0/campaignd.db?mode=ro", uri=True)) as file:
            return tuple(file.execute(f"{accepted} WHERE campaign IN ({numbers})").fetchone())
