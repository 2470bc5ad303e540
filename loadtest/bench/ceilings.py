"""What the parts could do without the rest, in the same run: each is measured once, when it is first asked for."""

import json

from .accounting import Meter, children_seconds
from .bed import SCENARIOS, Program, variables
from .results import Result
from .services import free_port, listening, run, until

# The account, what its sink speaks, and after how many milliseconds that answers.
CLIENTS = {"relay": ("relay", "smtp", 0), "relay-20ms": ("relay", "smtp", 20), "wechat": ("wechat", "wechat", 0),
           "fcm": ("fcm", "fcm", 0), "aliyun": ("aliyun", "aliyun", 0)}


class Ceilings:
    def __init__(self, bench):
        self.bench, self.known = bench, {}

    def get(self, name):
        """The result, and whether it is new."""
        new = name not in self.known
        if new:
            measure = {"ledger": self._ledger, "tracking": self._tracking}.get(name) or (lambda: self._client(name))
            self.known[name] = measure()
        return self.known[name], new

    def _client(self, name):
        """The daemon's own client with one rendered message, no store, no limits."""
        bench, port = self.bench, free_port()
        account, kind, delay = CLIENTS[name]
        folder = bench.folder / f"bare-{name}"
        folder.mkdir()
        messages = bench.few(60_000 if delay else 600_000, quick=5_000)
        sink = Program(folder, "sink", [bench.loadtest, "sink", "--of", kind, "--listen", f"127.0.0.1:{port}", "--delay-ms", delay])
        try:
            until("the sink", sink.said)
            environment = variables(bench, folder / "home", "postgres://nobody@127.0.0.1/none", sink=port)
            before = children_seconds()
            with Meter(sink=sink.pid) as meter:
                said = json.loads(run(bench.bare_client, SCENARIOS / "config.toml", account, messages, env=environment))
        finally:
            sink.end()
        after = f", its sink answers after {delay} ms" if delay else ""
        title = f"ceiling: the client of `{account}` with one rendered message, no store{after}"
        result = Result(f"ceiling-{name}", title, "messages")
        result.metered(meter, messages)
        result.seconds = said["seconds"]
        if not delay:
            result.notes.append(f"the sink's one thread is busy at {1e6 / max(result.micros['sink'], 0.1):,.0f}/s")
        return result.also_daemon(children_seconds() - before)

    def _ledger(self):
        """PostgreSQL by itself: the ledger's rows in batches of 500, inserted and updated over one connection."""
        bench = self.bench
        rows = bench.few(1_000_000, quick=20_000)
        store = bench.services.create("bench_ledger", bench.everybody())
        with Meter(postgres=bench.services.pids["postgres"]) as meter:
            said = json.loads(run(bench.loadtest, "drive", "ledger", "--store", store, "--rows", rows))
        bench.services.drop("bench_ledger")
        result = Result("ceiling-ledger", "ceiling: PostgreSQL's bare batches, a row inserted and updated", "rows")
        result.metered(meter, rows)
        result.seconds = said["seconds"]
        result.notes.append(f"inserted at {rows / said['inserting']:,.0f}/s, updated at {rows / said['updating']:,.0f}/s")
        return result

    def _tracking(self):
        """The same HTTP framework, which answers and does nothing."""
        bench, port = self.bench, free_port()
        folder = bench.folder / "bare-tracking"
        folder.mkdir()
        requests = bench.few(1_000_000, quick=10_000)
        (folder / "paths").write_text("".join(f"/{'oc'[i % 2]}/{'A' * 40}{i}\n" for i in range(requests // 2)))
        server = Program(folder, "bare", [bench.loadtest, "drive", "bare-tracking", "--listen", f"127.0.0.1:{port}"])
        try:
            until("the bare server", lambda: listening(port))
            said, meter = visit(bench, f"127.0.0.1:{port}", folder / "paths", requests, {"daemon": server.pid})
        finally:
            server.end()
        result = Result("ceiling-tracking", "ceiling: a bare axum server, opens and clicks", "requests")
        result.metered(meter, requests)
        result.seconds, result.p99_ms = said["seconds"], said["p99_ms"]
        return result


def visit(bench, address, paths, requests, processes, rate=None):
    """Follows links; what the visitor says and what the processes used."""
    pace = ["--rate", rate] if rate else []
    with Meter(**processes) as meter:
        said = run(bench.loadtest, "drive", "visit", "--to", address, "--paths", paths, "--count", requests, *pace)
    return json.loads(said), meter
