#!/usr/bin/env python3
"""Submits URLs to the url-scan saga over RabbitMQ and checks every verdict that comes back.

It shares no code with the product: it publishes `SubmitUrl` the four ways in which others may write
it (MassTransit envelope, raw JSON with and without `MT-*` headers, CloudEvents), reads `UrlScanned`
from a queue of its own, and checks that each is a MassTransit envelope with the right verdict, one
for each scan. A second copy on the wire must carry the message id of the first.

The verdicts expected are those of the sandbox (`knarr sandbox`), to which the server must be pointed
with VIRUSTOTAL_URL and SAFE_BROWSING_URL. `never.test` gets its verdict at URL_SCAN_DEADLINE.

Prints one line of JSON. Exit 0 when all is as it should be, 1 when not (the line then has
`problems`), 2 for a wrong command line or no connection.
"""

import argparse
import json
import os
import random
import re
import sys
import time
import uuid
from collections import Counter
from datetime import datetime, timezone

import pika
import pika.exceptions

SUBMIT = "Knarr.UrlScan:SubmitUrl"
SCANNED = "Knarr.UrlScan:UrlScanned"
ENDPOINT = "url-scan"
MASS_TRANSIT = "application/vnd.masstransit+json"

# What VirusTotal and Safe Browsing say in the sandbox about each host.
HOSTS = {
    "clean": ("clean", "clean"),
    "malicious": ("malicious", "malicious"),
    "suspicious": ("suspicious", "clean"),
    "slow": ("clean", "clean"),
    "unknown": ("clean", "clean"),
    "boom": ("clean", "clean"),
    "future": ("clean", "clean"),
    "collide": ("clean", "clean"),
    "never": ("unknown", "clean"),
}
USUAL_MIX = "clean=3,malicious=3,suspicious=3,slow=2,unknown=2,boom=1,future=1,collide=1"
FORMATS = ["envelope", "raw", "raw-headers", "cloud-event"]
PROBLEMS_SHOWN = 20


def verdict_of(sources):
    """The verdict over several sources, as the contract defines it."""
    for verdict in ("malicious", "suspicious", "unknown"):
        if verdict in sources:
            return verdict
    return "clean"


class Scan:
    """One URL on its way: how it is submitted and what must come back."""

    def __init__(self, number, kind, form, odd, rng):
        self.id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.kind = kind
        self.form = form
        self.number = number
        # Every second scan of a format is submitted in another of the ways that it allows.
        self.odd = odd
        # A URL of its own each, so that no service's memory of one URL answers for another.
        self.url = f"http://{kind}.test/{self.id}?n={number}"
        self.sources = HOSTS[kind]
        self.verdict = verdict_of(self.sources)
        self.conversation = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.message_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.answers = []

    @property
    def message(self):
        return {"scanId": self.id, "url": self.url}

    def published(self):
        """Exchange, routing key, body and AMQP properties."""
        return getattr(self, "as_" + self.form.replace("-", "_"))()

    def as_envelope(self):
        body = {
            "messageId": self.message_id,
            "correlationId": self.id,
            "conversationId": self.conversation,
            "sourceAddress": "rabbitmq://localhost/submit.py",
            "destinationAddress": f"rabbitmq://localhost/{SUBMIT}",
            "messageType": [f"urn:message:{SUBMIT}"],
            "message": self.message,
            "sentTime": datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
            "headers": {"tenant": f"t{self.number}"},
            "host": {"machineName": "python", "processId": os.getpid()},
        }
        properties = {"content_type": MASS_TRANSIT, "message_id": self.message_id}
        return SUBMIT, "", body, properties

    def as_raw(self):
        # Every second one carries no id at all: its content is its identity.
        properties = {"content_type": "application/json"}
        if self.odd:
            properties["message_id"] = self.message_id
        return SUBMIT, "", self.message, properties

    def as_raw_headers(self):
        headers = {
            "MT-MessageType": f"urn:message:{SUBMIT}",
            "MessageId": self.message_id,
            "ConversationId": self.conversation,
            "CorrelationId": self.id,
        }
        properties = {"content_type": "application/json", "headers": headers}
        # The header names the type, so that some can go straight to the queue.
        if self.odd:
            return "", ENDPOINT, self.message, properties
        return SUBMIT, "", self.message, properties

    def as_cloud_event(self):
        # Both names of a type are understood.
        prefix = "urn:message:" if self.odd else ""
        body = {
            "specversion": "1.0",
            "id": f"event-{self.number}-{self.id}",
            "source": "https://submit.py.test/",
            "type": f"{prefix}{SUBMIT}",
            "datacontenttype": "application/json",
            "data": self.message,
        }
        return SUBMIT, "", body, {"content_type": "application/cloudevents+json"}

    def expected_context(self):
        """Members of the answer's envelope that follow from how the scan was submitted."""
        if self.form in ("envelope", "raw-headers"):
            return {"conversationId": self.conversation, "initiatorId": self.id}
        return {"initiatorId": None}


class Wrong(Exception):
    """Something on the wire that should not be."""


def need(condition, text):
    if not condition:
        raise Wrong(text)


def is_guid(text):
    pattern = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None


def is_time(text):
    return isinstance(text, str) and re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text
    )


def read_envelope(properties, body):
    """The envelope of one message, as MassTransit writes it, or Wrong."""
    need(
        properties.content_type == MASS_TRANSIT,
        f"content type {properties.content_type!r} is not {MASS_TRANSIT}",
    )
    try:
        envelope = json.loads(body.decode("utf-8"))
    except ValueError as error:
        raise Wrong(f"the body is no JSON: {error}") from error
    need(isinstance(envelope, dict), "the body is no object")
    members = ["messageId", "conversationId", "messageType", "message", "headers", "host"]
    members += ["sentTime", "sourceAddress", "destinationAddress", "initiatorId", "correlationId"]
    for name in members:
        need(name in envelope, f"the envelope has no {name}")
    need(is_guid(envelope["messageId"]), f"messageId {envelope['messageId']!r} is no GUID")
    need(
        properties.message_id == envelope["messageId"],
        f"AMQP message_id {properties.message_id!r} is not messageId {envelope['messageId']!r}",
    )
    need(is_guid(envelope["conversationId"]), "conversationId is no GUID")
    types = envelope["messageType"]
    need(
        isinstance(types, list) and types[:1] == [f"urn:message:{SCANNED}"],
        f"messageType is {types!r}",
    )
    need(is_time(envelope["sentTime"]), f"sentTime is {envelope['sentTime']!r}")
    need(isinstance(envelope["headers"], dict), "headers is no object")
    need(isinstance(envelope["host"], dict), "host is no object")
    for name, ending in [("sourceAddress", ENDPOINT), ("destinationAddress", SCANNED)]:
        address = envelope[name]
        fits = isinstance(address, str) and re.fullmatch(r"rabbitmqs?://.+/" + ending, address)
        need(fits, f"{name} is {address!r}")
    need(properties.delivery_mode == 2, "the message is not persistent")
    return envelope


def check_answer(scan, envelope, properties):
    """Whether an answer is what the contract says about this scan, or Wrong."""
    message = envelope["message"]
    members = ["scanId", "url", "verdict", "sources", "completedAt"]
    need(sorted(message) == sorted(members), f"the message's members are {sorted(message)}")
    need(message["url"] == scan.url, f"the url is {message['url']!r}, not {scan.url!r}")
    need(is_time(message["completedAt"]), f"completedAt is {message['completedAt']!r}")
    said = [(source.get("name"), source.get("verdict")) for source in message["sources"]]
    expected = list(zip(["virus-total", "safe-browsing"], scan.sources))
    need(said == expected, f"the sources say {said}, expected {expected}")
    details = [source.get("detail") for source in message["sources"]]
    need(all(isinstance(detail, str) and detail for detail in details), f"details: {details}")
    need(
        message["verdict"] == scan.verdict,
        f"the verdict is {message['verdict']!r}, expected {scan.verdict!r}",
    )
    for name, value in scan.expected_context().items():
        need(envelope[name] == value, f"{name} is {envelope[name]!r}, expected {value!r}")
    headers = {name.lower(): value for name, value in envelope["headers"].items()}
    amqp = {name.lower(): value for name, value in (properties.headers or {}).items()}
    for where in (headers, amqp):
        need(where.get("knarr-sequence") == "1,1", f"Knarr-Sequence: {where.get('knarr-sequence')}")
    tenant = f"t{scan.number}" if scan.form == "envelope" else None
    need(headers.get("tenant") == tenant, f"tenant is {headers.get('tenant')}, expected {tenant}")


class Run:
    """All scans of one call, and everything that is wrong with them."""

    def __init__(self, options):
        self.options = options
        rng = random.Random(options.seed)
        kinds = spread(options.mix, options.count, rng)
        self.scans = {}
        for number, kind in enumerate(kinds):
            form = options.formats[number % len(options.formats)]
            odd = number // len(options.formats) % 2 == 1
            scan = Scan(number, kind, form, odd, rng)
            self.scans[scan.id] = scan
        self.problems = []
        self.copies = 0
        self.open = len(self.scans)
        self.message_ids = set()
        self.began = time.monotonic()
        self.told = self.began

    def problem(self, text):
        self.problems.append(text)

    def tell(self, text, at_once=False):
        now = time.monotonic()
        if at_once or now - self.told > 2:
            self.told = now
            print(f"submit.py: {now - self.began:5.1f} s {text}", file=sys.stderr, flush=True)

    def publish(self, channel):
        """Every message is confirmed by the broker, and must have found a queue."""
        for number, scan in enumerate(self.scans.values()):
            exchange, routing_key, body, properties = scan.published()
            try:
                channel.basic_publish(
                    exchange,
                    routing_key,
                    json.dumps(body).encode("utf-8"),
                    pika.BasicProperties(delivery_mode=2, **properties),
                    mandatory=True,
                )
            except pika.exceptions.UnroutableError as error:
                where = exchange or f"queue {routing_key}"
                raise Wrong(f"nobody takes {where}: is `knarr serve` running?") from error
            self.tell(f"submitted {number + 1} of {len(self.scans)}")

    def receive(self, channel, queue):
        """Reads until every scan has its answer and nothing more comes for a while."""
        deadline = time.monotonic() + self.options.timeout
        quiet_since = None
        for _, properties, body in self.deliveries(channel, queue):
            now = time.monotonic()
            if body is not None:
                self.take(properties, body)
                self.tell(f"{self.open} of {len(self.scans)} still open")
            if self.open == 0 and (body is not None or quiet_since is None):
                quiet_since = now
            if self.open == 0 and now - quiet_since >= self.options.settle:
                return
            if now > deadline:
                self.missing()
                return

    def deliveries(self, channel, queue):
        pause = min(0.25, self.options.settle or 0.25)
        yield from channel.consume(queue, auto_ack=True, inactivity_timeout=pause)

    def take(self, properties, body):
        try:
            envelope = read_envelope(properties, body)
            message = envelope["message"]
            need(isinstance(message, dict), "message is no object")
            scan = self.scans.get(message.get("scanId"))
            if scan is None:
                # Somebody else's scan on the same broker.
                return
        except Wrong as wrong:
            self.problem(f"a message that cannot be read: {wrong}: {body[:300]!r}")
            return
        try:
            self.note(scan, envelope["messageId"], body)
            check_answer(scan, envelope, properties)
        except Wrong as wrong:
            self.problem(f"{scan.form} {scan.url}: {wrong}")

    def note(self, scan, message_id, body):
        first = not scan.answers
        scan.answers.append((message_id, body))
        if first:
            self.open -= 1
            need(message_id not in self.message_ids, f"message id {message_id} is another scan's")
            self.message_ids.add(message_id)
            return
        self.copies += 1
        known, known_body = scan.answers[0]
        need(known == message_id, f"told twice, as {known} and as {message_id}")
        need(known_body == body, f"told twice under one id, with different bytes: {message_id}")
        need(not self.options.no_copies, f"a second copy of {message_id} is on the wire")

    def missing(self):
        late = [scan for scan in self.scans.values() if not scan.answers]
        for scan in late:
            self.problem(f"{scan.form} {scan.url}: no answer in {self.options.timeout:.0f} s")

    def summary(self):
        answered = [scan for scan in self.scans.values() if scan.answers]
        summary = {
            "ok": not self.problems,
            "submitted": len(self.scans),
            "answered": len(answered),
            "copies": self.copies,
            "verdicts": dict(sorted(Counter(scan.verdict for scan in answered).items())),
            "formats": dict(sorted(Counter(scan.form for scan in answered).items())),
            "seconds": round(time.monotonic() - self.began, 1),
        }
        if self.problems:
            summary["problems"] = self.problems[:PROBLEMS_SHOWN]
            summary["more"] = max(0, len(self.problems) - PROBLEMS_SHOWN)
        return summary


def spread(mix, count, rng):
    """`count` kinds in the proportions of the mix, shuffled; each kind at least once if they fit."""
    one_round = [kind for kind, weight in mix.items() for _ in range(weight)]
    kinds = list(mix) if count >= len(mix) else []
    rounds = one_round * (count // len(one_round) + 1)
    rng.shuffle(rounds)
    kinds += rounds[: count - len(kinds)]
    rng.shuffle(kinds)
    return kinds


def mix(text):
    mix = {}
    for part in text.split(","):
        kind, _, weight = part.strip().partition("=")
        if kind not in HOSTS:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(HOSTS)}")
        if weight and not weight.isdigit():
            raise argparse.ArgumentTypeError(f"{weight!r} is no weight")
        mix[kind] = int(weight or 1)
    if not any(mix.values()):
        raise argparse.ArgumentTypeError("all weights are 0")
    return {kind: weight for kind, weight in mix.items() if weight}


def formats(text):
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    broker = os.environ.get("KNARR_BROKER", "amqp://guest:guest@127.0.0.1:5672/%2f")
    parser.add_argument(
        "--broker", default=broker, help="AMQP URL (default: KNARR_BROKER, else the local broker)"
    )
    parser.add_argument("--count", type=int, default=100, help="URLs to submit (default: 100)")
    parser.add_argument(
        "--mix",
        type=mix,
        default=USUAL_MIX,
        metavar="KIND=WEIGHT,...",
        help=f"kinds of URLs, of {', '.join(HOSTS)} (default: {USUAL_MIX})",
    )
    parser.add_argument(
        "--formats",
        type=formats,
        default=",".join(FORMATS),
        metavar="FORMAT,...",
        help=f"how messages are written, in turn (default: {','.join(FORMATS)})",
    )
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds to wait for answers (default: 120)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=2,
        help="seconds to listen on for copies after the last answer (default: 2)",
    )
    parser.add_argument(
        "--no-copies", action="store_true", help="a second copy of an answer counts as a problem"
    )
    parser.add_argument("--seed", type=int, help="the same ids and order again")
    return parser.parse_args()


def connect(url):
    parameters = pika.URLParameters(url)
    parameters.client_properties = {"connection_name": "submit.py"}
    # Verdicts may take minutes, and this program reads in between only now and then.
    parameters.heartbeat = 300
    return pika.BlockingConnection(parameters)


def main():
    chosen = options()
    try:
        connection = connect(chosen.broker)
    except (pika.exceptions.AMQPError, OSError, ValueError) as error:
        print(f"submit.py: no connection to the broker: {error!r}", file=sys.stderr)
        return 2
    run = Run(chosen)
    try:
        listening = connection.channel()
        listening.exchange_declare(SCANNED, exchange_type="fanout", durable=True)
        queue = listening.queue_declare("", exclusive=True, auto_delete=True).method.queue
        listening.queue_bind(queue, SCANNED)
        publishing = connection.channel()
        publishing.confirm_delivery()
        publishing.exchange_declare(SUBMIT, exchange_type="fanout", durable=True)
        run.publish(publishing)
        run.tell(f"submitted all {len(run.scans)}", at_once=True)
        run.receive(listening, queue)
        listening.cancel()
    except Wrong as wrong:
        run.problem(str(wrong))
    except pika.exceptions.AMQPError as error:
        run.problem(f"the broker: {error!r}")
    summary = run.summary()
    print(json.dumps(summary), flush=True)
    if connection.is_open:
        connection.close()
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
