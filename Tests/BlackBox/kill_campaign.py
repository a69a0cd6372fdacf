#!/usr/bin/env python3
"""Kills a server under load, again and again, and checks that it keeps its word.

    Tests/BlackBox/kill_campaign.py --lives 200

Producers, consumers with leases, inboxes, schedules and transactions run against a real server, which is killed with
SIGKILL at a random moment, started again on its data, and so on. What every client was told is written down and checked
against everything that comes later, and at the end against all that is stored:

- what was acknowledged is there, once; what was not acknowledged is there once or not at all
- what was durably accepted or rejected is not delivered again, and nobody gets what another has leased
- attempts count up; behind a crash they are what the log can have; never more than the limit
- of one ordering key one message is out at a time, in order
- a message came to one end: accepted, or one dead letter
- every inbox got every message
- scheduled messages come at their time, once, and not after they were withdrawn
- transactions are there as a whole, with what they settled, or not at all
"""

import argparse
import pathlib
import random
import struct
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE / "native_client"))

import sluice_native as native  # noqa: E402
from conftest import Server  # noqa: E402

PARTITIONS = 2
KEYS = 12
MAX_ATTEMPTS = 5
LEASE_US = 400_000
# A settlement names no attempt: one that comes when its lease is over could hit the next one of the same consumer.
MARGIN_US = 150_000
INBOXES = ("inbox-1", "inbox-2")
BROKEN = (ConnectionError, OSError, struct.error)


class Fault(AssertionError):
    """The server did not keep its word."""


class Lost(Exception):
    """The server was killed."""


def now_us():
    return time.time_ns() // 1000


class Message:
    """What is known of one message in one subscription."""

    __slots__ = ("attempt", "holder", "deadline", "intent", "final", "floor", "life", "place", "seen", "not_before",
                 "history", "departures")

    def __init__(self):
        self.attempt = 0  # of the last delivery that came
        self.holder = None
        self.deadline = 0
        self.intent = None  # a final settlement that was sent
        self.final = None  # one that was answered: durable
        self.floor = 0  # attempts that are known to be durable
        self.life = 0
        self.place = None
        self.seen = 0
        self.not_before = 0
        self.departures = 0
        self.history = []  # the last that happened, to be told with a fault

    def note(self, life, what):
        self.history.append(f"{life}/{now_us() % 100_000_000} {what}")
        del self.history[:-10]

    @property
    def story(self):
        return "; ".join(self.history)


class Ledger:
    """Everything that clients said and were told. Guarded by one lock."""

    def __init__(self):
        self.lock = threading.RLock()
        self.life = 0
        self.faults = []
        self.sent = {}  # body -> (producer, number, key) in the order in which they were sent
        self.acknowledged = set()
        self.abandoned = set()  # producers whose id the server no longer knew: theirs may be there or not
        self.keys = {}  # key -> bodies in order
        self.work = {}
        self.inboxes = {name: {} for name in INBOXES}
        self.scheduled = {}  # body -> (time, id or None)
        self.withdrawn = {}  # body -> "asked" or "done"
        self.later = {}
        self.transactions = {}  # number -> dict
        self.jobs = {}
        self.counts = {}
        self.departures = 0  # of consumers of the ordered subscription, each of which may leave deliveries unread

    def count(self, what, number=1):
        self.counts[what] = self.counts.get(what, 0) + number

    @property
    def is_ahead(self):
        """Much was sent that consumers have not come to."""
        return len(self.sent) - min(map(len, (self.work, *self.inboxes.values()))) > 1_500

    def fault(self, text):
        with self.lock:
            self.faults.append(f"life {self.life}: {text}")

    # Deliveries

    def delivered(self, table, name, record, holder):
        """A message came to a consumer; its state."""
        body = bytes(record.body)
        state = table.get(body)
        if state is None:
            state = table[body] = Message()
        text = f"{name}: {body.decode()} (lane {record.lane}, sequence {record.sequence}, attempt {record.attempt})"
        if state.place not in (None, (record.lane, record.sequence)):
            self.fault(f"{text} stood at {state.place} before")
        state.place = (record.lane, record.sequence)
        state.note(self.life, f"attempt {record.attempt} to {holder.name} until {record.deadline % 100_000_000}")
        text += f" [{state.story}]"
        # A consumer that reads late may come to a lease that is over; one that went has left some unread.
        now = now_us()
        is_late = record.deadline <= now
        if is_late and state.life == self.life and record.attempt < state.attempt:
            return state  # sent before the delivery that another has read already
        if state.final:
            self.fault(f"{text} came again, though {state.final} was durable")
        if state.life == self.life:
            if state.holder and state.holder.is_attached and state.deadline > now:
                self.fault(f"{text} came to {holder.name}, though {state.holder.name} has its lease")
            if record.attempt <= state.attempt and not is_late:
                self.fault(f"{text} has an attempt that is not behind {state.attempt}")
            if table is not self.work and record.attempt != state.attempt + 1:
                self.fault(f"{text} has an attempt that does not follow {state.attempt}")
            if state.not_before > now:
                self.fault(f"{text} came {state.not_before - now} us before its delay was over")
        elif not state.floor < record.attempt <= state.attempt + 1 + 2 * (self.life - state.life):
            self.fault(f"{text} has an attempt that cannot be: {state.floor} were durable, {state.attempt} the last")
        if table is self.work and record.attempt > MAX_ATTEMPTS:
            self.fault(f"{text} was delivered too often")
        if is_late and record.attempt <= state.attempt:
            return state
        state.attempt, state.holder, state.deadline = record.attempt, holder, record.deadline
        state.life, state.intent, state.not_before = self.life, None, 0
        state.departures = self.departures
        state.seen += 1
        return state

    def check_order(self, body, state):
        """Everything before it with the same key is settled."""
        _, _, key = self.sent.get(body, (None, None, None))
        if key is None:
            return
        for other in self.keys[key]:
            if other == body:
                break
            before = self.work.get(other)
            if before is None:
                if other in self.acknowledged:
                    self.fault(f"work: {body.decode()} came before {other.decode()} of the same key")
            elif before.final is None and before.intent is None and not self.may_be_dead(before):
                self.fault(f"work: {body.decode()} came while {other.decode()} of the same key is not settled: {before.story}")


    def may_be_dead(self, state):
        """Whether it may have come as often as it may, the deliveries that nobody read included."""
        unread = self.departures - state.departures + 2 * (self.life - state.life)
        return state.attempt + unread >= MAX_ATTEMPTS


class Holder:
    """A consumer's attachment: its leases end with it."""

    def __init__(self, name):
        self.name, self.is_attached = name, True


class Life:
    """One server process and the clients that load it."""

    def __init__(self, campaign, server):
        self.campaign, self.ledger, self.server = campaign, campaign.ledger, server
        self.stop = threading.Event()
        self.threads = []

    def start(self, *bodies):
        for number, body in enumerate(bodies):
            seed = self.campaign.random.random()
            thread = threading.Thread(target=self._run, args=(body, number, random.Random(seed)), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _run(self, body, number, source):
        try:
            body(self, number, source)
        except BROKEN:
            pass
        except (native.SluiceError, native.ProtocolError, Fault, AssertionError) as error:
            if not self.stop.is_set():
                self.ledger.fault(f"{body.__name__}: {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001
            self.ledger.fault(f"{body.__name__}: {type(error).__name__}: {error}")

    def client(self, timeout=5.0):
        return native.Client(port=self.server.native_port, timeout=timeout)

    def join(self):
        for thread in self.threads:
            thread.join(timeout=15)
            if thread.is_alive():
                self.ledger.fault("a client hangs behind the end of its server")


# What clients do. Each runs until its connection is gone or it is told to stop.


def produce(life, number, source):
    """Sends to `orders` with keys of its own, resuming where the life before ended."""
    ledger, slot = life.ledger, life.campaign.producers[number]
    with life.client() as client:
        producer = client.producer("orders", resume=slot["id"])
        if slot["id"] and producer.producer != slot["id"]:
            # Nothing of it was durable, or it was forgotten: what was on its way is not known.
            with ledger.lock:
                ledger.abandoned.update(slot["open"])
            slot.update(open=[], sequences={})
        slot["id"] = producer.producer
        producer.sequences = slot["sequences"]
        for body in slot["open"]:
            send(life, producer, slot, body)
        slot["open"] = []
        while not life.stop.is_set():
            if ledger.is_ahead:
                time.sleep(0.005)
                continue
            key = f"k{number}-{source.randrange(KEYS)}"
            bodies = []
            with ledger.lock:
                for _ in range(source.choice((1, 1, 1, 4))):
                    slot["next"] += 1
                    body = f"{number}-{slot['next']}".encode()
                    ledger.sent[body] = (number, slot["next"], key)
                    ledger.keys.setdefault(key, []).append(body)
                    bodies.append(body)
            slot["open"] = [bodies]
            send(life, producer, slot, bodies)
            slot["open"] = []


def send(life, producer, slot, bodies):
    ledger = life.ledger
    key = ledger.sent[bodies[0]][2]
    partition = native.crc32c(key.encode()) % producer.partitions
    producer.sequences.setdefault(partition, 0)
    producer.produce(bodies, partition=partition, ordering_key=key.encode())
    with ledger.lock:
        ledger.acknowledged.update(bodies)
        ledger.count("published", len(bodies))


def consume_work(life, number, source):
    """Takes messages of the ordered subscription and does with them whatever comes to its mind."""
    ledger, table = life.ledger, life.ledger.work
    while not life.stop.is_set():
        holder = Holder(f"work-{number}")
        receipts = source.random() < 0.3
        with life.client() as client:
            try:
                consumer = client.consumer("work", messages=source.choice((1, 8, 64)), receipts=receipts)
                for _ in range(source.randrange(20, 200)):
                    records = next_or_none(client, consumer, life)
                    if records is None:
                        return
                    with ledger.lock:
                        ledger.count("deliveries", len(records))
                        for record in records:
                            state = ledger.delivered(table, "work", record, holder)
                            ledger.check_order(bytes(record.body), state)
                    settle(life, client, consumer, table, records, source, receipts, can_reject=True)
            finally:
                # Receipts outlive the connection.
                with ledger.lock:
                    holder.is_attached = receipts
                    ledger.departures += 1


def consume_inbox(life, number, source):
    name = INBOXES[number % len(INBOXES)]
    ledger, table = life.ledger, life.ledger.inboxes[name]
    holder = Holder(f"{name}/{number}")
    with life.client() as client:
        consumer = client.consumer(name, messages=64)
        while not life.stop.is_set():
            records = next_or_none(client, consumer, life)
            if records is None:
                return
            with ledger.lock:
                ledger.count("inbox deliveries", len(records))
                for record in records:
                    ledger.delivered(table, name, record, holder)
            settle(life, client, consumer, table, records, source, False, can_reject=False)


def next_or_none(client, consumer, life):
    """The next delivery, or None once the life is to end."""
    client.socket.settimeout(0.5)
    while not life.stop.is_set():
        try:
            return consumer.next_delivery()
        except TimeoutError:
            continue
    return None


def settle(life, client, consumer, table, records, source, receipts, can_reject):
    ledger = life.ledger
    rest = list(records)
    while rest:
        size = source.randrange(1, 9)
        part, rest = rest[:size], rest[size:]
        if any(record.deadline < now_us() + MARGIN_US for record in part):
            consumer.credit(len(part))
            continue
        choice = source.random()
        wait = source.random() < 0.4
        client.socket.settimeout(5.0)
        if choice < 0.72 or (choice < 0.78 and not can_reject):
            what = "accept"
        elif choice < 0.78:
            what = "reject"
        elif choice < 0.94:
            what = "release"
        else:
            what = None  # its lease ends
        if what is None:
            # Their credit comes back with a new attachment only: give some, so that it goes on.
            consumer.credit(len(part))
            continue
        delay = source.choice((None, 0, 20_000, 60_000)) if what == "release" else None
        with ledger.lock:
            asked = now_us()
            # What its lease has left may be with another meanwhile: then it is not ours to say.
            ours = []
            for record in part:
                state = table[bytes(record.body)]
                is_ours = (state.attempt == record.attempt and state.life == ledger.life
                           and (record.deadline > asked + 2_000))
                if what == "release":
                    state.holder, state.deadline = (None, 0) if is_ours else (state.holder, state.deadline)
                    if delay and is_ours:
                        state.not_before = asked + delay
                else:
                    # Even a late one may count.
                    state.intent = what
                    if is_ours:
                        state.holder, state.deadline = None, 0
                state.note(ledger.life, f"{what} {record.attempt} {'waits' if wait else ''} {delay or ''}")
                if is_ours:
                    ours.append((state, record.attempt))
            before = now_us()
        if receipts and source.random() < 0.5:
            opcode = {"accept": "ACKNOWLEDGE", "reject": "REJECT", "release": "RELEASE"}[what]
            head = b"" if what == "accept" else native.text("bad") if what == "reject" else \
                struct.pack("<BQ", 0 if delay is None else 1, delay or 0)
            results = client.settle([record.receipt for record in part], opcode, head)
            consumer.credit(len(part))
            wait = True
            done = [result == 0 for result in results]
        else:
            if what == "accept":
                consumer.accept(part, wait=wait)
            elif what == "reject":
                consumer.reject(part, "bad", wait=wait)
            else:
                consumer.release(part, delay_us=delay, wait=wait)
            done = None
        if wait:
            with ledger.lock:
                for position, (state, attempt) in enumerate(ours):
                    # Only what came in time is known to count; its lease may have ended on the way.
                    counts = done[part_index(part, table, state)] if done is not None else \
                        life.campaign.in_time(state, before, part, table)
                    if not counts:
                        continue
                    if what == "release":
                        state.floor = max(state.floor, attempt)
                    else:
                        state.final = what
                        state.note(ledger.life, "is durable")
                        ledger.count(f"durably {what}ed")


def part_index(part, table, state):
    for index, record in enumerate(part):
        if table[bytes(record.body)] is state:
            return index
    return 0


def schedule(life, number, source):
    """Sends messages for later, and withdraws some."""
    ledger = life.ledger
    with life.client() as client:
        producer = client.producer("later", anonymous=True)
        while not life.stop.is_set():
            with ledger.lock:
                life.campaign.next_later += 1
                body = f"later-{life.campaign.next_later}".encode()
                due = now_us() + source.choice((5_000, 50_000, 300_000, 1_500_000))
                ledger.scheduled[body] = (due, None)
            properties = native.encode_properties([(5, struct.pack("<Q", due))])
            offset = producer.produce([body], properties=properties)
            if offset == native.NO_OFFSET:
                with ledger.lock:
                    ledger.scheduled[body] = (due, producer.scheduled)
            with ledger.lock:
                ledger.acknowledged.add(body)
                ledger.count("scheduled")
            if offset == native.NO_OFFSET and source.random() < 0.2:
                with ledger.lock:
                    ledger.withdrawn[body] = "asked"
                try:
                    client.cancel_scheduled(producer.scheduled)
                    with ledger.lock:
                        ledger.withdrawn[body] = "done"
                        ledger.count("withdrawn")
                except native.SluiceError:
                    with ledger.lock:
                        del ledger.withdrawn[body]
            time.sleep(0.002)


def consume_later(life, number, source):
    ledger = life.ledger
    holder = Holder("later")
    with life.client() as client:
        consumer = client.consumer("later", messages=64)
        while not life.stop.is_set():
            records = next_or_none(client, consumer, life)
            if records is None:
                return
            with ledger.lock:
                for record in records:
                    state = ledger.delivered(ledger.later, "later", record, holder)
                    body = bytes(record.body)
                    due, _ = ledger.scheduled[body]
                    if now_us() < due:
                        ledger.fault(f"{body.decode()} came {due - now_us()} us before its time")
                    if ledger.withdrawn.get(body) == "done":
                        ledger.fault(f"{body.decode()} came, though it was withdrawn")
                    state.intent = "accept"
            client.socket.settimeout(5.0)
            consumer.accept(records)
            with ledger.lock:
                for record in records:
                    ledger.later[bytes(record.body)].final = "accept"
                ledger.count("scheduled delivered", len(records))


def transact(life, number, source):
    """Takes jobs and publishes to two topics together with their acknowledgement."""
    ledger, campaign = life.ledger, life.campaign
    with life.client() as client:
        # What the life before left open is finished now, in either way.
        for transaction in [each for each in ledger.transactions.values() if each["number"] and not each["outcome"]]:
            finish(life, client, transaction, source.random() < 0.5)
        jobs = client.producer("jobs", anonymous=True)
        one, two = client.producer("tx-1", anonymous=True), client.producer("tx-2", anonymous=True)
        holder = Holder("jobs")
        consumer = client.consumer("jobs", messages=16)
        while not life.stop.is_set():
            with ledger.lock:
                campaign.next_transaction += 1
                name = f"t{campaign.next_transaction}"
            body = f"job-{name}".encode()
            jobs.produce([body])
            with ledger.lock:
                ledger.acknowledged.add(body)
            records = consumer.next_delivery()
            with ledger.lock:
                for record in records:
                    ledger.delivered(ledger.jobs, "jobs", record, holder)
                transaction = {"name": name, "number": None, "asked": None, "outcome": None, "is_whole": False,
                               "jobs": [bytes(record.body) for record in records]}
                ledger.transactions[name] = transaction
            transaction["number"] = client.begin()
            one.produce([name.encode()], transaction=transaction["number"])
            two.produce([name.encode()] * 2, transaction=transaction["number"])
            client.settle_in(transaction["number"], [record.receipt for record in records])
            transaction["is_whole"] = True
            commits = source.random() < 0.7
            if commits:
                with ledger.lock:
                    for record in records:
                        ledger.jobs[bytes(record.body)].intent = name
            finish(life, client, transaction, commits)
            if commits:
                with ledger.lock:
                    for record in records:
                        if transaction["outcome"] == "committed":
                            ledger.jobs[bytes(record.body)].final = name
                consumer.credit(len(records))
            else:
                with ledger.lock:
                    for record in records:
                        ledger.jobs[bytes(record.body)].holder = None
                consumer.release(records)


def finish(life, client, transaction, commits):
    """Commits or rolls back. One whose end was asked for before may be over already."""
    ledger = life.ledger
    before = transaction["asked"]
    transaction["asked"] = "committed" if commits else "rolled back"
    try:
        (client.commit if commits else client.roll_back)(transaction["number"])
        transaction["outcome"] = transaction["asked"]
        if before is not None and commits:
            with ledger.lock:
                for body in transaction["jobs"]:
                    ledger.jobs[body].intent = transaction["name"]
    except native.SluiceError as error:
        if error.status == 0x7004:
            # A job was delivered again: then it is as if it had been rolled back.
            try:
                client.roll_back(transaction["number"])
            except native.SluiceError:
                pass
            transaction["outcome"] = "rolled back"
        elif error.status == 0x6004:
            # It was over: as it was asked before, or it never became durable.
            transaction["outcome"] = "committed?" if before == "committed" else "rolled back"
        else:
            raise
    with ledger.lock:
        ledger.count(f"transactions {transaction['outcome']}")


class Campaign:
    """Lives of one server, one behind the other."""

    def __init__(self, directory, seed):
        self.random = random.Random(seed)
        self.ledger = Ledger()
        self.server = Server(directory / "data", ["storage.segment_size=4MiB"])
        self.producers = [{"id": 0, "next": 0, "sequences": {}, "open": []} for _ in range(2)]
        self.next_later = self.next_transaction = 0

    @staticmethod
    def in_time(state, before, part, table):
        """Whether a settlement that was answered is known to have counted: its lease had not ended when it was asked."""
        for record in part:
            if table[bytes(record.body)] is state:
                return record.deadline > now_us() + 1_000
        return False

    def prepare(self):
        with native.Client(port=self.server.native_port) as client:
            client.create_topic("orders", PARTITIONS)
            client.create_topic("jobs")
            for name in ("later", "tx-1", "tx-2"):
                client.create_topic(name)
            client.create_subscription("work", "orders", consumers=native.ORDERED, lease_us=LEASE_US,
                                       max_attempts=MAX_ATTEMPTS, backoff="10ms,30ms", dead_letter_topic="orders-dead")
            for name in INBOXES:
                client.create_subscription(name, bindings=[native.binding("orders/#")], lease_us=LEASE_US)
            client.create_subscription("later", "later", lease_us=10_000_000)
            client.create_subscription("jobs", "jobs", lease_us=10_000_000)

    def run(self, lives, seconds):
        self.server.start()
        self.prepare()
        starts = []
        for number in range(lives):
            self.ledger.life = number + 1
            life = Life(self, self.server)
            life.start(produce, produce)
            life.start(consume_work, consume_work, consume_work)
            life.start(consume_inbox, consume_inbox)
            life.start(schedule, consume_later, transact)
            time.sleep(self.random.uniform(0.2, 2 * seconds - 0.2))
            life.stop.set()
            self.server.kill()
            life.join()
            begin = time.monotonic()
            self.server.start()
            starts.append(time.monotonic() - begin)
            if self.ledger.faults:
                break
            if (number + 1) % 10 == 0:
                print(f"{number + 1} lives: {self.summary()}", flush=True)
        self.ledger.life = lives + 1
        if not self.ledger.faults:
            self.drain()
            self.verify()
        self.server.stop()
        starts.sort()
        print(f"starts took {starts[len(starts) // 2]:.2f} s, at most {starts[-1]:.2f} s")
        print(self.summary())
        return self.ledger.faults

    def summary(self):
        return ", ".join(f"{number} {what}" for what, number in sorted(self.ledger.counts.items()))

    # The end

    def drain(self):
        """Everything that is left is accepted."""
        life = Life(self, self.server)
        with life.client() as client:
            for transaction in [each for each in self.ledger.transactions.values()
                                if each["number"] and not each["outcome"]]:
                finish(life, client, transaction, self.random.random() < 0.5)
        for number, slot in enumerate(self.producers):
            with life.client() as client:
                producer = client.producer("orders", resume=slot["id"])
                if producer.producer != slot["id"]:
                    self.ledger.abandoned.update(body for bodies in slot["open"] for body in bodies)
                    continue
                producer.sequences = slot["sequences"]
                for bodies in slot["open"]:
                    send(life, producer, slot, bodies)
        tables = {"work": self.ledger.work, "later": self.ledger.later, "jobs": self.ledger.jobs, **self.ledger.inboxes}
        for name, table in tables.items():
            self.drain_one(life, name, table)

    def drain_one(self, life, name, table):
        holder = Holder("drain")
        with life.client() as client:
            consumer = client.consumer(name, messages=50)
            client.socket.settimeout(0.5)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    records = consumer.next_delivery()
                except TimeoutError:
                    if self.lanes(name, "backlog") == 0:
                        return
                    continue
                with self.ledger.lock:
                    for record in records:
                        state = self.ledger.delivered(table, name, record, holder)
                        if name == "work":
                            self.ledger.check_order(bytes(record.body), state)
                        state.intent = "accept"
                client.socket.settimeout(5)
                consumer.credit(sum(record.deadline < now_us() + MARGIN_US for record in records))
                records = [record for record in records if record.deadline >= now_us() + MARGIN_US]
                if records:
                    consumer.accept(records)
                client.socket.settimeout(0.5)
                for record in records:
                    if record.deadline > now_us() + 1_000:
                        table[bytes(record.body)].final = "accept"
            self.ledger.fault(f"{name} is not empty: {self.lanes(name, 'backlog')} messages wait")

    def lanes(self, name, what):
        """A figure of a subscription, summed over its lanes."""
        with native.Client(port=self.server.native_port) as client:
            return sum(lane[what] for lane in client.describe_subscription(name)["lanes"])

    def stored(self, client, topic, partitions=1):
        """How often each body is in a topic."""
        found = {}
        for partition in range(partitions):
            offset = 0
            while True:
                records, _, following = client.fetch(topic, offset, partition)
                if not records:
                    break
                for record in records:
                    body = bytes(record.body)
                    found.setdefault(body, []).append(record.offset)
                offset = records[-1].offset + 1
        return found

    def verify(self):
        """Compares what is stored with what everybody was told."""
        ledger = self.ledger
        with native.Client(port=self.server.native_port) as client:
            orders = self.stored(client, "orders", PARTITIONS)
            for body, offsets in orders.items():
                if len(offsets) > 1:
                    ledger.fault(f"orders: {body.decode()} is stored {len(offsets)} times")
                if body not in ledger.sent:
                    ledger.fault(f"orders: {body!r} was never sent")
            dead = {}
            try:
                dead = self.stored(client, "orders-dead")
            except native.SluiceError:
                pass
            for body in ledger.sent:
                if body in ledger.acknowledged and body not in orders:
                    ledger.fault(f"orders: {body.decode()} was acknowledged and is lost")
                if body not in orders:
                    continue
                state, letters = ledger.work.get(body), len(dead.get(body, ()))
                if state is None:
                    if not letters:
                        ledger.fault(f"work: {body.decode()} never came")
                    continue
                if letters > 1:
                    ledger.fault(f"work: {body.decode()} is {letters} dead letters")
                if state.final == "accept" and letters:
                    ledger.fault(f"work: {body.decode()} was durably accepted and is a dead letter")
                if state.final == "reject" and not letters:
                    ledger.fault(f"work: {body.decode()} was durably rejected and is no dead letter")
                if not letters and state.intent != "accept" and state.final != "accept":
                    ledger.fault(f"work: {body.decode()} is neither accepted nor a dead letter")
                for name, table in ledger.inboxes.items():
                    if body not in table:
                        ledger.fault(f"{name}: {body.decode()} never came")
            ledger.count("dead letters", sum(map(len, dead.values())))
            later = self.stored(client, "later")
            for body, (_, scheduled) in ledger.scheduled.items():
                number = len(later.get(body, ()))
                if number > 1:
                    ledger.fault(f"later: {body.decode()} was published {number} times")
                is_withdrawn = ledger.withdrawn.get(body)
                if number and is_withdrawn == "done":
                    ledger.fault(f"later: {body.decode()} was published, though it was withdrawn")
                if not number and body in ledger.acknowledged and not is_withdrawn:
                    ledger.fault(f"later: {body.decode()} was acknowledged and is lost")
            ones, twos = self.stored(client, "tx-1"), self.stored(client, "tx-2")
            for name, transaction in ledger.transactions.items():
                one, two = len(ones.get(name.encode(), ())), len(twos.get(name.encode(), ()))
                # One that was not sent as a whole is committed as far as it came.
                if (one, two) not in ((0, 0), (1, 2)) and (transaction["is_whole"] or one > 1 or two not in (0, 2)):
                    ledger.fault(f"transaction {name} is there in part: {one} of 1, {two} of 2")
                if transaction["outcome"] == "committed" and transaction["is_whole"] and not one:
                    ledger.fault(f"transaction {name} was committed and is lost")
                if transaction["outcome"] == "rolled back" and one:
                    ledger.fault(f"transaction {name} was rolled back and is there")


def campaign(directory, lives, seconds, seed):
    """Runs it; the faults that were found."""
    return Campaign(pathlib.Path(directory), seed).run(lives, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.8, help="how long a life lasts on average")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--directory", help="where the data goes; kept when faults are found")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    print(f"seed {seed}")
    began = time.monotonic()
    directory = options.directory or tempfile.mkdtemp(prefix="sluice-kill-")
    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    faults = campaign(directory, options.lives, options.seconds, seed)
    for fault in faults[:40]:
        print(f"fault: {fault}")
    print(f"{options.lives} lives in {time.monotonic() - began:.0f} s, {len(faults)} faults, data in {directory}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
