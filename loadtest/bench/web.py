"""Campaigns over web APIs: WeChat and FCM with a message a request, Aliyun with a hundred."""

from .mail import campaign


def over_http(bench, name, title, channel, goal):
    recipients = bench.few(500_000, quick=5_000)
    with bench.bed(name, template=bench.everybody(), sink=name) as bed:
        result = campaign(bed, name, title, channel=channel, purpose="service", audience=bench.share(recipients),
                          recipients=recipients)
        bed.check_law([name])
    yield from bench.under(result, name)
    yield result.at_least(goal, result.rate)


def scenario_wechat(bench):
    yield from over_http(bench, "wechat", "WeChat, a message a request", "wechat", 30_000)


def scenario_fcm(bench):
    yield from over_http(bench, "fcm", "FCM over HTTP/1.1, a message a request", "push", 30_000)


def scenario_aliyun(bench):
    yield from over_http(bench, "aliyun", "Aliyun, a hundred messages a request", "sms", 60_000)
