"""The private PostgreSQL and RabbitMQ of scripts/services, and waiting for things."""

import os
import pathlib
import re
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A scenario that could not be measured, and why."""


def until(what, reached, seconds=120, every=0.1):
    """Waits for a condition and returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (got := reached()):
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within {seconds:.0f} s")
        time.sleep(every)
    return got


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def run(*command, **more):
    """A program to its end; its output is shown where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command[:4]))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Services:
    """An instance of its own, gone with its data at the end."""

    def __init__(self):
        self.environment = os.environ | {"CAMPAIGND_SERVICES": os.environ.get("CAMPAIGND_SERVICES", "bench")}
        offsets = [self.environment.get("CAMPAIGND_PORT_OFFSET", -2600), -2500, -2400]
        self._script("wipe")
        for offset in offsets:
            self.environment["CAMPAIGND_PORT_OFFSET"] = str(offset)
            if subprocess.run([ROOT / "scripts/services", "free"], env=self.environment).returncode == 0:
                break
        self._script("up", "postgres", "rabbitmq")
        said = self._script("status", "postgres", "rabbitmq")
        self.pids = {name: int(pid) for name, pid in re.findall(r"^(\w+): runs .* pid (\d+)", said, re.M)}
        variables = dict(re.findall(r"^export (\w+)=(.*)$", self._script("env"), re.M))
        self.postgres = variables["CAMPAIGND_TEST_PG_URL"].rsplit("/", 1)[0]
        self.amqp = variables["CAMPAIGND_TEST_AMQP_URL"]

    def _script(self, *arguments):
        # RabbitMQ, who stays, would hold a pipe open for ever.
        with open("/dev/null") as nothing, SCRATCH.open("w+") as said:
            done = subprocess.run([ROOT / "scripts/services", *arguments], env=self.environment, stdin=nothing,
                                  stdout=said, stderr=subprocess.STDOUT)
            said.seek(0)
            text = said.read()
        if done.returncode:
            raise Failed(f"scripts/services {arguments[0]}:\n{text}")
        return text

    def sql(self, database, statement):
        """One value a line."""
        return run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", f"{self.postgres}/{database}", "-c", statement).strip()

    def create(self, database, template=None):
        """A database, empty or as another one is; whatever had its name is gone."""
        self.drop(database)
        like = f" TEMPLATE {template} STRATEGY file_copy" if template else ""
        self.sql("postgres", f"CREATE DATABASE {database}{like}")
        return f"{self.postgres}/{database}"

    def drop(self, database):
        self.sql("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def end(self):
        self._script("wipe")


SCRATCH = ROOT / "target/bench/services.log"
