"""E-mail campaigns to a sink, and the same without any network."""

from .contacts import write_people
from .results import Result
from .services import run

TITLE = "e-mail of 5 kB, 3 tracked links, pixel, 64 connections, RabbitMQ job, PostgreSQL"


def scenario_email(bench):
    with bench.bed("email", template=bench.everybody()) as bed:
        result = campaign(bed, "email", TITLE, channel="email", purpose="marketing", audience={"all": True},
                          recipients=bench.people)
        bed.check_law(["email"])
        size = bed.sink.said()["bytes"] / bench.people
    result.notes.append(f"{size:,.0f} bytes a mail")
    result.at_least(25_000, result.rate).at_most(45, result.micros["daemon"], "{:.0f} µs daemon")
    result.at_most(16, result.micros["postgres"], "{:.0f} µs PostgreSQL").at_most(150, result.peak_mb, "{:.0f} MB")
    yield from bench.under(result, "relay")
    yield from bench.ceiling("ledger")
    bare = bench.ceilings.get("ledger")[0].micros["postgres"]
    result.notes.append(f"PostgreSQL {result.micros['postgres'] / bare:.2f} times its bare batches")
    yield result


def scenario_email_20ms(bench):
    people = bench.few(100_000, quick=5_000)
    with bench.bed("email20ms", template=bench.everybody(), delay_ms=20) as bed:
        result = campaign(bed, "email20ms", "the same, the sink answers after 20 ms", channel="email", purpose="marketing",
                          audience=bench.share(people), recipients=people)
        bed.check_law(["email20ms"])
    yield from bench.under(result, "relay-20ms")
    yield result.at_least(0.95 * 64 / 0.020, result.rate)


def scenario_sqlite(bench):
    people = bench.few(300_000, quick=20_000)
    with bench.bed("sqlite", store="sqlite", sink=None) as bed:
        file = bed.folder / "people.csv"
        write_people(file, people)
        run(*bed.daemon.command, "contacts", "import", file, "--consent", env=bed.daemon.environment)
        result = campaign(bed, "sqlite", "SQLite and sandbox, no network", channel="email", purpose="marketing",
                          audience={"all": True}, recipients=people)
        bed.check_law(["sqlite"])
    yield result.at_least(50_000, result.rate)


def campaign(bed, name, title, *, recipients, **job):
    """One campaign from its job to its last outcome in the ledger."""
    job = bed.bench.job(name, **job)
    with bed.meter() as meter:
        bed.enqueue(job)
        bed.wait_settled([name], recipients)
    result = Result(name, title, "messages").metered(meter, recipients)
    result.peak_mb = bed.peak_memory()
    return result
