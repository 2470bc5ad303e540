"""Contacts: the import of a CSV file, whose store other scenarios begin with, and planning by a segment."""

from .accounting import Meter, children_seconds
from .bed import SCENARIOS, variables
from .results import Result
from .services import run, until

TIERS, CITIES = ("gold", "silver", "bronze"), ("Berlin", "上海", "São Paulo", "Kyoto", "Lagos")
ADDRESSES = {"email": "c{0}@example.com", "phone": "+86138{0:08}", "wechat": "openid-{0}", "push": "device-{0}"}


def name(number):
    return f"C{number:07}"


def write_people(file, people, addresses=ADDRESSES):
    """`slot` is 0 to 99 in turn, so that a comparison with it takes that many hundredths."""
    address = ",".join(ADDRESSES[column] for column in addresses)
    with file.open("w") as out:
        print(f"external_id,{','.join(addresses)},name,city,tier,points,slot", file=out)
        for i in range(people):
            print(f"{name(i)},{address.format(i)},Name {i},{CITIES[i % 5]},{TIERS[i % 3]},{i % 977},{i % 100}", file=out)


def import_csv(bench, database, addresses):
    file = bench.folder / f"{database}.csv"
    write_people(file, bench.people, addresses)
    store = bench.services.create(database)
    environment = variables(bench, bench.folder / database, store)
    campaignd = [bench.campaignd, "--config", SCENARIOS / "config.toml"]
    run(*campaignd, "migrate", env=environment)
    before = children_seconds()
    with Meter(**bench.services.pids) as meter:
        run(*campaignd, "contacts", "import", file, "--consent", env=environment)
    rows = int(bench.services.sql(database, "SELECT count(*) FROM contacts"))
    assert rows == bench.people, f"{rows} contacts of {bench.people}"
    bench.services.sql(database, "VACUUM ANALYZE")
    title = f"contacts import: CSV, {len(addresses)} addresses and five attributes each"
    result = Result("import", title.replace("1 addresses", "an e-mail address"), "contacts")
    result.metered(meter, bench.people).also_daemon(children_seconds() - before)
    result.notes.append(f"{file.stat().st_size / bench.people:.0f} bytes a row")
    file.unlink()
    return result


def scenario_import(bench):
    result = import_csv(bench, "bench_import", ["email"])
    bench.services.drop("bench_import")
    yield result.at_least(80_000, result.rate, "{:,.0f} rows/s")
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
