"""Contacts: the import of a CSV file, whose store other scenarios begin with, and planning by a segment."""

from .accounting import Meter, children_seconds
from .bed import SCENARIOS, variables
from .results import Result
from .services import run, until

TIERS, CITIES = ("gold", "silver", "bronze"), ("Berlin", "上海", "São Paulo", "Kyoto", "Lagos")
HEADER = "external_id,email,phone,wechat,push,name,city,tier,points,slot"


def name(number):
    return f"C{number:07}"


def write_people(file, people):
    """`slot` is 0 to 99 in turn, so that a comparison with it takes that many hundredths."""
    with file.open("w") as out:
        print(HEADER, file=out)
        for i in range(people):
            print(f"{name(i)},c{i}@example.com,+86138{i:08},openid-{i},device-{i},Name {i},{CITIES[i % 5]},{TIERS[i % 3]},"
                  f"{i % 977},{i % 100}", file=out)


def import_csv(bench):
    """Makes the database `bench_people`, which other scenarios copy."""
    file = bench.folder / "people.csv"
    write_people(file, bench.people)
    store = bench.services.create("bench_people")
    environment = variables(bench, bench.folder / "import", store)
    campaignd = [bench.campaignd, "--config", SCENARIOS / "config.toml"]
    run(*campaignd, "migrate", env=environment)
    before = children_seconds()
    with Meter(**bench.services.pids) as meter:
        run(*campaignd, "contacts", "import", file, "--consent", env=environment)
    rows = int(bench.services.sql("bench_people", "SELECT count(*) FROM contacts"))
    assert rows == bench.people, f"{rows} contacts of {bench.people}"
    bench.services.sql("bench_people", "VACUUM ANALYZE")
    result = Result("import", "contacts import: CSV, four addresses and five attributes each", "contacts")
    result.metered(meter, bench.people).also_daemon(children_seconds() - before)
    result.notes.append(f"{file.stat().st_size / bench.people:.0f} bytes a row")
    return result.at_least(80_000, result.rate, "{:,.0f} rows/s")


def scenario_import(bench):
    bench.everybody()
    yield bench.people_import


def scenario_planning(bench):
    """The lane is as good as stopped by its rate, so that planning alone is measured."""
    people = bench.everybody()
    with bench.bed("planning", template=people, sink=None, settings={"CAMPAIGND__CHANNELS__EMAIL__RATE": "1/h"}) as bed:
        wanted = bench.people * 9 // 10
        segment = {"all": [{"attribute": "slot", "lt": 90}, {"not": {"tag": "vip"}}]}
        job = bench.job("planned", channel="email", purpose="marketing", audience={"segment": segment})
        with bed.meter() as meter:
            bed.enqueue(job)
            until("the plan", lambda: bed.daemon.campaign("planned").get("status") == "running", 600, 0.05)
        targeted = bed.daemon.campaign("planned")["targeted"]
        assert targeted == wanted, f"{targeted} planned of {wanted}"
        result = Result("planning", f"planning by a segment, 90 % of {bench.people:,} contacts", "recipients")
        result.metered(meter, wanted)
        result.peak_mb = bed.peak_memory()
        yield result.at_least(120_000, result.rate)
