"""How cost grows: with the ledger, with the number of campaigns and of daemons, and memory over a long campaign."""

from .accounting import memory
from .contacts import name as contact
from .mail import campaign
from .results import Result
from .services import Failed, until


def scenario_ledger_rows(bench):
    """A campaign of one size while the ledger grows. What fills it are copies of a campaign's rows, in its partition, under
    the campaign numbers 10 to 59."""
    recipients = bench.few(200_000, quick=2_000)
    steps = bench.few([100_000, 1_000_000, 10_000_000], quick=[2_000, 20_000])
    costs = {}
    with bench.bed("rows", template=bench.everybody()) as bed:
        for rows in steps:
            fill(bed, rows, steps[0])
            result = campaign(bed, f"rows{rows}", f"e-mail, {rows:,} rows in the ledger", channel="email",
                              purpose="marketing", audience=bench.share(recipients), recipients=recipients)
            bed.check_law([f"rows{rows}"], handed_over=recipients)
            costs[rows] = result.micros["daemon"] + result.micros["postgres"]
            if rows == steps[-1]:
                result.at_most(1.15, costs[rows] / costs[steps[0]], "{:.2f} times daemon's and PostgreSQL's cost")
            yield result


def fill(bed, rows, first):
    """So that so many rows stand there: those of the first step's campaign, and copies of them."""
    sql = bed.services.sql
    copies = int(sql(bed.database, f"SELECT count(*) / {first} FROM deliveries WHERE campaign BETWEEN 10 AND 59"))
    if not bed.daemon.campaign("seed"):
        bed.enqueue(bed.bench.job("seed", channel="email", purpose="marketing", audience=bed.bench.share(first)))
        bed.wait_settled(["seed"], first)
    for copy in range(copies, rows // first - 1):
        sql(bed.database, f"""INSERT INTO deliveries
            SELECT {10 + copy % 50}, contact, {copy // 50}, address, batch, updated_at, state, reason, attempts, variant,
                   provider, provider_ref
            FROM deliveries WHERE campaign = (SELECT number FROM campaigns WHERE id = 'seed')""")
    sql(bed.database, "VACUUM ANALYZE deliveries")


def scenario_campaigns(bench):
    """As many recipients in all, in one campaign, ten and a hundred at once."""
    for campaigns in (1, 10, 100):
        size = bench.people // campaigns
        with bench.bed(f"campaigns{campaigns}", template=bench.everybody()) as bed:
            names = [f"part{i}" for i in range(campaigns)]
            result = several(bed, names, f"e-mail, {campaigns} campaign{'s' if campaigns > 1 else ''} at once", size)
            bed.check_law(names)
        yield result


def several(bed, names, title, size):
    with bed.meter() as meter:
        for place, name in enumerate(names):
            audience = {"contacts": [contact(i) for i in range(place * size, (place + 1) * size)]}
            # A hundred programs that each publish a job would be measured, too.
            bed.daemon.ask("/v1/jobs", bed.bench.job(name, channel="email", purpose="marketing", audience=audience))
        bed.wait_settled(names, size * len(names), every=0.3)
    result = Result(bed.name, title, "messages").metered(meter, size * len(names))
    result.peak_mb = bed.peak_memory()
    return result


def scenario_daemons(bench):
    for daemons in (1, 2, 4):
        with bench.bed(f"daemons{daemons}", template=bench.everybody(), daemons=daemons) as bed:
            plural = "s" if daemons > 1 else ""
            result = campaign(bed, bed.name, f"e-mail, {daemons} daemon{plural} on one store", channel="email",
                              purpose="marketing", audience={"all": True}, recipients=bench.people)
            bed.check_law([bed.name])
        yield result


def scenario_memory(bench):
    """At a rate that makes the campaign last two minutes: at full speed there is no second one."""
    rate = bench.few(8_000, quick=1_000)
    with bench.bed("memory", template=bench.everybody()) as bed:
        samples = []
        with bed.meter() as meter:
            bed.enqueue(bench.job("memory", channel="email", purpose="marketing", audience={"all": True},
                                  rate=f"{rate}/s"))

            def settled():
                samples.append(memory(bed.daemon.pid, "VmRSS"))
                return bed.daemon.campaign("memory").get("settled", 0) >= bench.people

            until("the campaign's end", settled, 60 + 3 * bench.people / rate, every=1)
        bed.check_law(["memory"])
        result = Result("memory", f"memory over a campaign of {bench.people:,} at {rate:,}/s", "messages")
        result.metered(meter, bench.people)
        result.peak_mb = bed.peak_memory()
    minute = bench.few(60, quick=len(samples) // 2)
    if len(samples) < minute + 2:
        raise Failed(f"the campaign was over after {len(samples)} s")
    first, rest = samples[minute], max(samples[minute:])
    result.notes.append(f"{first:.0f} MB after the first minute, then at most {rest:.0f} MB")
    yield result.at_most(1.05, rest / first, "{:.2f} times the first minute's")
