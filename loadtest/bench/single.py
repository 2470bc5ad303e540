"""Single messages from RabbitMQ: how long from publish to the provider, and how many."""

import json
import time

from .results import Result
from .services import Failed, run, until

WARM = 200


def scenario_single(bench):
    """A steady rate."""
    rate, count = 500, bench.few(15_000, quick=1_000)
    with bench.bed("single", template=bench.everybody(), marks=True) as bed:
        warm(bed)
        result, latencies, _ = publish(bed, "single", f"single messages from RabbitMQ, steady {rate}/s", count, rate)
        bed.check_law(["warm", "single"])
    latency(result, latencies)
    yield result.at_most(30, result.p50_ms, "p50 {:.0f} ms").at_most(100, result.p99_ms, "p99 {:.0f} ms")


def scenario_single_full(bench):
    """As many as RabbitMQ confirms."""
    count = bench.few(200_000, quick=2_000)
    with bench.bed("singlefull", template=bench.everybody(), marks=True) as bed:
        warm(bed)
        result, _, seconds = publish(bed, "singlefull", "single messages from RabbitMQ, as many as come", count)
        result.seconds = seconds
        bed.check_law(["warm", "singlefull"])
    yield result.at_least(10_000, result.rate)


def scenario_beside(bench):
    """Transactional messages while everybody else gets a campaign."""
    rate, count = 100, bench.few(2_000, quick=50)
    with bench.bed("beside", template=bench.everybody(), marks=True) as bed:
        warm(bed)
        bed.enqueue(bench.job("bulk", channel="email", purpose="marketing", audience={"all": True}))
        until("the campaign's start", lambda: bed.daemon.campaign("bulk").get("settled", 0) > bench.people // 50)
        title = f"single messages, {rate}/s, beside a campaign of {bench.people:,}"
        result, latencies, _ = publish(bed, "beside", title, count, rate)
        settled = bed.daemon.campaign("bulk")["settled"]
        if settled >= bench.people:
            result.notes.append("the campaign ended before the messages did")
        bed.wait_settled(["bulk"], bench.people)
        bed.check_law(["warm", "beside", "bulk"])
    latency(result, latencies)
    result.micros = {}
    yield result.at_most(150, result.p99_ms, "p99 {:.0f} ms")


def warm(bed):
    """Connections are open, statements prepared, pages in memory."""
    drive(bed, "warm", WARM, 0, None)
    bed.wait_settled(["warm"], WARM)


def publish(bed, name, title, count, rate=None):
    """The result, the latencies in seconds in order, and the seconds from the first publish to the last arrival."""
    with bed.meter() as meter:
        published = drive(bed, name, count, WARM, rate)
        bed.wait_settled([name], count)
    time.sleep(1.1)  # the sink writes its marks each second
    arrived = marks(bed.sink_marks)
    lost = [number for number in published if number not in arrived]
    if lost:
        raise Failed(f"{len(lost)} of {count} messages did not reach the sink")
    latencies = sorted((arrived[number] - at) / 1e6 for number, at in published.items())
    seconds = (max(arrived[number] for number in published) - min(published.values())) / 1e6
    result = Result(name, title, "messages").metered(meter, count)
    result.peak_mb = bed.peak_memory()
    return result, latencies, seconds


def drive(bed, name, count, first, rate):
    file = bed.folder / f"{name}.marks"
    pace = ["--rate", rate] if rate else []
    run(bed.bench.loadtest, "drive", "publish", "--amqp", bed.services.amqp, "--prefix", name, "--first", first, "--count", count,
        "--marks", file, *pace)
    return marks(file)


def marks(file):
    """When, in microseconds, by number."""
    return {int(number): int(at) for number, at in (line.split() for line in file.read_text().splitlines())}


def latency(result, latencies):
    result.p50_ms = latencies[len(latencies) // 2] * 1000
    result.p99_ms = latencies[len(latencies) * 99 // 100] * 1000
