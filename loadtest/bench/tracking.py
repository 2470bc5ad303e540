"""Opens and clicks of mails that were sent, each twice."""

from .ceilings import visit
from .results import Result
from .services import Failed, until

RATE = 5_000


def scenario_tracking(bench):
    recipients = bench.few(250_000, quick=2_000)
    steady = bench.few(100_000, quick=2_000)
    with bench.bed("tracking", template=bench.everybody(), links=True) as bed:
        bed.enqueue(bench.job("tracked", channel="email", purpose="marketing", audience=bench.share(recipients)))
        bed.wait_settled(["tracked"], recipients)
        bed.check_law(["tracked"])
        paths = bed.sink_links.read_text().split()
        if len(paths) != 4 * recipients:
            raise Failed(f"{len(paths)} links and pixels in {recipients} mails: there should be four each")
        yield visits(bed, "tracking-steady", f"opens and clicks, half repeats, steady {RATE:,}/s", paths[:steady // 2], RATE)
        result = visits(bed, "tracking", "opens and clicks, half repeats, 64 connections", paths[steady // 2:])
    yield from bench.under(result, "tracking")
    yield result


def visits(bed, name, title, paths, rate=None):
    file = bed.folder / f"{name}.paths"
    file.write_text("".join(path + "\n" for path in paths))
    requests, before = 2 * len(paths), recorded(bed)
    spooled = bed.daemon.metric("campaignd_events_spooled_total")
    processes = {"daemon": bed.daemon.pid} | bed.services.pids
    said, meter = visit(bed.bench, f"127.0.0.1:{bed.daemon.public}", file, requests, processes, rate)
    result = Result(name, title, "requests").metered(meter, requests)
    result.seconds, result.peak_mb = said["seconds"], bed.peak_memory()
    result.p50_ms, result.p99_ms = said["p50_ms"], said["p99_ms"]
    until("the events in the store", lambda: recorded(bed) - before >= requests, 300)
    until("an empty spool", lambda: not bed.daemon.metric("campaignd_event_spool_bytes"), 300)
    if recorded(bed) - before != requests or bed.daemon.metric("campaignd_events_dropped_total"):
        raise Failed(f"{requests} requests, {recorded(bed) - before} events in the store")
    if spooled := bed.daemon.metric("campaignd_events_spooled_total") - spooled:
        result.notes.append(f"{spooled / requests:.1%} of the events went over the spool")
    return result.at_most(20, result.p99_ms, "p99 {:.0f} ms") if rate else result.at_least(40_000, result.rate)


def recorded(bed):
    return int(bed.services.sql(bed.database, "SELECT count(*) FROM events"))
