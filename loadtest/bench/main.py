"""Builds, starts, measures, checks, tells."""

import argparse
import contextlib
import fcntl
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

from . import contacts, growth, mail, results, single, tracking, web
from .bed import Bed
from .ceilings import Ceilings
from .services import ROOT, Failed, Services, run

SCENARIOS = {
    "import": contacts.scenario_import,
    "planning": contacts.scenario_planning,
    "email": mail.scenario_email,
    "email-20ms": mail.scenario_email_20ms,
    "wechat": web.scenario_wechat,
    "fcm": web.scenario_fcm,
    "aliyun": web.scenario_aliyun,
    "sqlite": mail.scenario_sqlite,
    "single": single.scenario_single,
    "single-full": single.scenario_single_full,
    "beside": single.scenario_beside,
    "tracking": tracking.scenario_tracking,
    "ledger-rows": growth.scenario_ledger_rows,
    "memory": growth.scenario_memory,
    "campaigns": growth.scenario_campaigns,
    "daemons": growth.scenario_daemons,
}


OUT = ROOT / "target/bench"


class Bench:
    """What all scenarios share."""

    def __init__(self, quick, target):
        self.quick = quick
        self.campaignd, self.loadtest = target / "release/campaignd", target / "release/campaignd-loadtest"
        self.bare_client = target / "release/examples/bare_client"
        self.out, self.folder = OUT, pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=OUT))
        self.people = self.few(1_000_000, quick=20_000)
        self.people_import = None
        self.fcm_key = {
            "type": "service_account", "project_id": "bench", "private_key_id": "bench",
            "private_key": run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
            "client_email": "bench@bench.iam.gserviceaccount.com"}
        self.ceilings = Ceilings(self)
        self.services = Services()

    def few(self, full, quick):
        return quick if self.quick else full

    def everybody(self):
        """The database with all contacts and an address of each channel, to be copied."""
        if not self.people_import:
            self.people_import = contacts.import_csv(self, "bench_people", contacts.ADDRESSES)
        return "bench_people"

    def ceiling(self, name):
        """A line for the ceiling where it has none yet."""
        result, new = self.ceilings.get(name)
        if new:
            yield result

    def under(self, result, name):
        """Sets a result beside its ceiling."""
        yield from self.ceiling(name)
        result.under(name, self.ceilings.get(name)[0].rate)

    def bed(self, name, **more):
        return Bed(self, name, **more)

    def job(self, name, **more):
        return {"type": "campaign", "id": name, "template": "newsletter", **more}

    def share(self, people):
        """An audience of so many, in whole hundredths of all contacts."""
        return {"segment": {"attribute": "slot", "lt": people * 100 // self.people}}

    def end(self):
        self.services.end()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def alone():
    """One run at a time in a checkout; it starts without what a run that was killed left behind, and SIGTERM ends it with
    all that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("scripts/bench: another run is under way in this checkout; wait until it ends")
        for left in OUT.glob("run-*"):
            shutil.rmtree(left)
        yield


def build(target):
    what = ["--workspace", "--bins", "--example", "bare_client"]
    subprocess.run(["cargo", "build", "--release", *what, "--target-dir", target], cwd=ROOT, check=True)


def main():
    arguments = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scenario", nargs="*", help=", ".join(SCENARIOS))
    arguments.add_argument("--quick", action="store_true", help="each small: whether it runs, not how fast")
    arguments.add_argument("--target-dir", type=pathlib.Path, default=ROOT / "target", help="where cargo builds")
    options = arguments.parse_args()
    if unknown := set(options.scenario) - set(SCENARIOS):
        arguments.error(f"no scenario {', '.join(sorted(unknown))}: they are {', '.join(SCENARIOS)}")
    with alone():
        build(options.target_dir)
        return run_all(options.scenario or SCENARIOS, options)


def run_all(names, options):
    bench = Bench(options.quick, options.target_dir)
    measured, failed = [], []
    try:
        for name in names:
            print(f"== {name}", file=sys.stderr, flush=True)
            try:
                for result in SCENARIOS[name](bench):
                    measured.append(result)
                    print("   " + " | ".join(filter(None, result.line())), file=sys.stderr, flush=True)
            except Failed as failure:
                failed.append(name)
                print(f"   FAILED: {failure}", file=sys.stderr, flush=True)
            except Exception:
                failed.append(name)
                traceback.print_exc()
            results.write(measured, bench.out, options.quick)
    finally:
        bench.end()
    print(results.write(measured, bench.out, options.quick))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


DESCRIPTION = """Measures campaignd on this machine, with all that it talks to beside it.

    scripts/bench                     every scenario, about half an hour
    scripts/bench email planning      some
    scripts/bench --quick             every scenario, too small to mean anything, some minutes

Builds release, starts private services and sinks, loads contacts, runs scenarios, and after each checks the law of the
ledger. Prints a table, which lies with its JSON in target/bench. Other programs on the machine falsify the figures:
"others' cores" says how many cores they used."""
