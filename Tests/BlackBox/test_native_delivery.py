"""Leases, inboxes, order, delay and transactions, as docs/native-protocol.md describes them, against the real server."""

import os
import socket
import struct
import sys
import time
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "native_client"))
import sluice_native as native  # noqa: E402

LEASE_LOST = 0x7004
DENIED = 0x5002
SECOND = 1_000_000


def now():
    return time.time_ns() // 1000


@pytest.fixture
def connect(server):
    """Opens connections; all are closed at the end."""
    opened = []

    def open_one(**options):
        opened.append(native.Client(port=server.native_port, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def topic(client):
    name = "d-" + uuid.uuid4().hex[:12]
    client.create_topic(name)
    return name


@pytest.fixture
def jobs(client, topic):
    """A subscription to the topic from its beginning, without a time limit for leases."""
    client.create_subscription("s-" + topic, topic, lease_us=0)
    return "s-" + topic


def fill(client, address, count, **options):
    producer = client.producer(address)
    producer.produce([b"%d" % number for number in range(count)], **options)
    return producer


def bodies(records):
    return [record.body for record in records]


def lane(client, subscription, number=0):
    return client.describe_subscription(subscription)["lanes"][number]


def wait_until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.01)


# Leases


def test_what_is_acknowledged_is_done(client, topic, jobs):
    fill(client, topic, 10)
    consumer = client.consumer(jobs)
    messages = consumer.take(10)
    assert bodies(messages) == [b"%d" % number for number in range(10)]
    assert {message.attempt for message in messages} == {1}
    assert messages[0].deadline == native.WITH_CONNECTION
    assert lane(client, jobs)["leased"] == 10
    consumer.accept(messages[:4] + messages[6:])
    state = lane(client, jobs)
    assert (state["acknowledged"], state["backlog"], state["leased"]) == (4, 2, 2)
    assert state["oldest"] > 0
    consumer.accept(messages[4:6], wait=False)
    wait_until(lambda: lane(client, jobs)["backlog"] == 0)


def test_what_a_lost_connection_had_goes_to_another_in_its_order(connect, client, topic, jobs):
    fill(client, topic, 6)
    gone = connect()
    had = gone.consumer(jobs).take(6)
    gone.close()
    assert len(had) == 6
    again = client.consumer(jobs).take(6)
    assert bodies(again) == [b"%d" % number for number in range(6)]
    assert {message.attempt for message in again} == {2}


def test_released_messages_come_again_before_fresh_ones(client, topic, jobs):
    fill(client, topic, 4)
    consumer = client.consumer(jobs, messages=2)
    first = consumer.take(2)
    consumer.release(first)
    again = consumer.take(2)
    assert bodies(again) == [b"0", b"1"]
    assert {message.attempt for message in again} == {2}
    consumer.release(again, counts=False)
    assert {message.attempt for message in consumer.take(2)} == {2}


def test_a_release_with_a_delay_waits_so_long(client, topic, jobs):
    fill(client, topic, 1)
    consumer = client.consumer(jobs)
    message = consumer.take(1)
    begin = time.monotonic()
    consumer.release(message, delay_us=300_000)
    assert consumer.take(1)[0].attempt == 2
    assert 0.29 <= time.monotonic() - begin < 0.4


def test_a_lease_ends_at_its_deadline_and_can_be_extended(client, topic):
    client.create_subscription("s-" + topic, topic, lease_us=400_000)
    fill(client, topic, 2)
    consumer = client.consumer("s-" + topic)
    messages = consumer.take(2)
    begin = time.monotonic()
    consumer.extend(messages[1:], 1_200_000)
    assert abs(messages[0].deadline - now() - 400_000) < 100_000
    again = consumer.take(1)
    took = time.monotonic() - begin
    assert bodies(again) == [b"0"] and again[0].attempt == 2
    assert 0.35 <= took < 0.5
    consumer.accept(again)
    assert bodies(consumer.take(1)) == [b"1"]
    assert time.monotonic() - begin > 1.1


def test_after_the_last_attempt_a_message_is_dead_lettered(client, topic):
    dead = topic + "-dead"
    client.create_subscription("s-" + topic, topic, max_attempts=3, backoff="20ms,40ms", dead_letter_topic=dead)
    fill(client, topic, 1)
    consumer = client.consumer("s-" + topic)
    for attempt in (1, 2, 3):
        message = consumer.take(1)
        assert message[0].attempt == attempt
        consumer.release(message)
    wait_until(lambda: lane(client, "s-" + topic)["backlog"] == 0)
    records, _, _ = client.fetch(dead, 0, wait_ms=2_000)
    assert bodies(records) == [b"0"]


def test_a_rejected_message_takes_its_reason_along(client, topic):
    dead = topic + "-dead"
    client.create_topic(dead)
    client.create_subscription("s-" + topic, topic, dead_letter_topic=dead)
    fill(client, topic, 1)
    consumer = client.consumer("s-" + topic)
    consumer.reject(consumer.take(1), "no such customer")
    records, _, _ = client.fetch(dead, 0, wait_ms=2_000)
    assert bodies(records) == [b"0"]
    assert any(b"no such customer" in value for _, value in records[0].properties)


def test_a_few_of_a_large_batch_come_as_a_batch_of_their_own(client, topic, jobs):
    producer = client.producer(topic)
    producer.produce([bytes(1_000)] * 500)
    consumer = client.consumer(jobs, messages=3)
    frame = client.next_push(consumer.handle)
    assert len(frame.body) < 10_000
    messages = consumer._leased(frame, native.Reader(frame.body))
    assert [message.offset for message in messages] == [0, 1, 2]
    consumer.accept(messages)
    assert [message.sequence for message in consumer.take(3)] == [3, 4, 5]


def test_receipts_settle_from_another_connection(connect, client, topic, jobs):
    fill(client, topic, 3)
    first = connect()
    receipts = [message.receipt for message in first.consumer(jobs, receipts=True).take(3)]
    first.close()
    # Another message's sequence, another generation, another signature: none of them was ever given out.
    genuine = receipts[0]
    forged = [genuine[:place] + (genuine[place] + 3,) + genuine[place + 1:] for place in (2, 3, 6)]
    assert client.settle(forged) == [DENIED] * 3
    assert client.settle(receipts[:2]) == [0, 0]
    assert client.settle(receipts[:1]) == [LEASE_LOST]
    assert client.settle(receipts[2:], "RELEASE", struct.pack("<BQ", 0, 0)) == [0]
    assert client.consumer(jobs).take(1)[0].attempt == 2
    assert client.settle(receipts[2:]) == [LEASE_LOST]


def test_what_is_leased_when_the_server_is_killed_comes_again(make_server):
    server = make_server().start()
    with native.Client(port=server.native_port) as client:
        client.create_topic("jobs")
        client.create_subscription("worker", "jobs")
        fill(client, "jobs", 5)
        consumer = client.consumer("worker")
        messages = consumer.take(5)
        consumer.accept(messages[1:3])
        server.kill()
    server.start()
    with native.Client(port=server.native_port) as client:
        again = client.consumer("worker")
        assert bodies(again.take(3)) == [b"0", b"3", b"4"]
        assert again.nothing_within(0.2)


def test_receipts_survive_a_killed_server(make_server):
    server = make_server().start()
    with native.Client(port=server.native_port) as client:
        client.create_topic("jobs")
        client.create_subscription("worker", "jobs")
        fill(client, "jobs", 2)
        receipts = [message.receipt for message in client.consumer("worker", receipts=True).take(2)]
        # Its answer comes when it is durable, and with it the leases.
        assert client.settle(receipts[:1]) == [0]
        server.kill()
    server.start()
    with native.Client(port=server.native_port) as client:
        assert client.consumer("worker").nothing_within(0.2)
        assert client.settle(receipts) == [LEASE_LOST, 0]


# Consumers


def test_competing_consumers_share_the_messages(connect, client, topic, jobs):
    consumers = [connect().consumer(jobs, messages=1) for _ in range(3)]
    fill(client, topic, 30)
    seen = []
    for _ in range(10):
        for consumer in consumers:
            message = consumer.take(1)
            seen += bodies(message)
            consumer.accept(message)
    assert sorted(seen, key=int) == [b"%d" % number for number in range(30)]


def test_an_exclusive_subscription_has_one_consumer(connect, client, topic):
    client.create_subscription("s-" + topic, topic, consumers=native.EXCLUSIVE)
    client.consumer("s-" + topic)
    client.health()
    second = connect().consumer("s-" + topic)
    with pytest.raises(native.SluiceError) as error:
        second.next_delivery()
    assert error.value.status == 0x7003


def test_failover_gives_all_to_the_next(connect, client, topic):
    client.create_subscription("s-" + topic, topic, consumers=native.FAILOVER, lease_us=0)
    active = connect()
    first = active.consumer("s-" + topic)
    fill(client, topic, 3)
    assert len(first.take(3)) == 3 and first.active is True
    second = client.consumer("s-" + topic)
    assert second.nothing_within(0.2) and second.active is False
    active.close()
    assert bodies(second.take(3)) == [b"0", b"1", b"2"]
    assert second.active is True


def test_order_by_key_is_kept_with_three_consumers(connect, client, topic):
    client.create_subscription("s-" + topic, topic, consumers=native.ORDERED, lease_us=0)
    producer = client.producer(topic)
    for number in range(20):
        for key in (b"a", b"b", b"c", b"d"):
            producer.produce([key + b"%d" % number], ordering_key=key)
    consumers = [connect().consumer("s-" + topic, messages=4) for _ in range(3)]
    out, seen, released = {}, {}, set()
    done = 0
    while done < 80:
        for consumer in consumers:
            before = consumer.client.socket.gettimeout()
            consumer.client.socket.settimeout(0.02)
            try:
                messages = consumer.next_delivery()
            except TimeoutError:
                continue
            finally:
                consumer.client.socket.settimeout(before)
            for message in messages:
                key, number = message.ordering_key, int(message.body[1:])
                assert key not in out, "two messages of one key are out"
                out[key] = number
                assert number == seen.get(key, -1) + 1
            for message in messages:
                key, number = message.ordering_key, int(message.body[1:])
                del out[key]
                if number % 7 == 3 and (key, number) not in released:
                    released.add((key, number))
                    consumer.release([message])
                else:
                    seen[key] = number
                    done += 1
                    consumer.accept([message])
    assert seen == {key: 19 for key in (b"a", b"b", b"c", b"d")}


# Inboxes


def test_an_inbox_takes_what_its_bindings_route_to_it(client, topic):
    client.create_topic(topic + "-other")
    client.create_subscription("i-" + topic, bindings=[native.binding(topic + "/+/created")])
    consumer = client.consumer("i-" + topic)
    client.producer(topic + "/eu/created").produce([b"one"])
    client.producer(topic + "/eu/deleted").produce([b"no"])
    client.bind("i-" + topic, native.binding(topic + "-other/#"))
    client.producer(topic + "-other/x").produce([b"two"])
    messages = consumer.take(2)
    assert [(message.body, message.name) for message in messages] == [
        (b"one", topic + "/eu/created"), (b"two", topic + "-other/x")]
    consumer.accept(messages)
    assert client.bindings("i-" + topic) == [(0, "", topic + "/+/created"), (0, "", topic + "-other/#")]
    client.unbind("i-" + topic, native.binding(topic + "-other/#"))
    client.producer(topic + "-other/x").produce([b"three"])
    client.producer(topic + "/us/created").produce([b"four"])
    assert bodies(consumer.take(1)) == [b"four"]
    description = client.describe_subscription("i-" + topic)
    assert description["inbox"] and description["topic_id"] == 0


def test_higher_priorities_come_first(client, topic):
    client.create_subscription("i-" + topic, bindings=[native.binding(topic + "/#")], max_priority=9)
    producer = client.producer(topic)
    for priority in (0, 5, 9, 5):
        producer.produce([b"%d" % priority], properties=native.encode_properties([(6, bytes([priority]))]))
    consumer = client.consumer("i-" + topic)
    messages = consumer.take(4)
    assert bodies(messages) == [b"9", b"5", b"5", b"0"]
    consumer.accept(messages)
    assert sum(entry["backlog"] for entry in client.describe_subscription("i-" + topic)["lanes"]) == 0


def test_a_transient_inbox_ends_with_its_connection(connect, client, topic):
    other = connect()
    other.create_subscription("i-" + topic, bindings=[native.binding(topic + "/#")], durable=0)
    assert client.describe_subscription("i-" + topic)["policy"]["durable"] == 0
    other.close()

    def is_gone():
        try:
            client.describe_subscription("i-" + topic)
            return False
        except native.SluiceError as error:
            return error.status == 0x6002

    wait_until(is_gone)


# Places


def test_seek_and_pause(client, topic, jobs):
    fill(client, topic, 5)
    consumer = client.consumer(jobs)
    consumer.accept(consumer.take(5))
    assert client.seek(jobs, native.FIRST)["lanes"][0]["backlog"] == 5
    assert bodies(consumer.take(5)) == [b"0", b"1", b"2", b"3", b"4"]
    consumer.credit(10)
    assert client.pause(jobs)["paused"]
    client.seek(jobs, native.OFFSET, 3)
    assert consumer.nothing_within(0.2)
    assert not client.pause(jobs, False)["paused"]
    assert bodies(consumer.take(2)) == [b"3", b"4"]
    client.seek(jobs, native.NEXT)
    assert lane(client, jobs)["backlog"] == 0


def test_browse_changes_nothing(client, topic, jobs):
    fill(client, topic, 5)
    consumer = client.consumer(jobs, messages=2)
    consumer.accept(consumer.take(2)[:1])
    found, following = client.browse(jobs, limit=3)
    assert [(record.body, record.sequence) for record in found] == [(b"1", 1), (b"2", 2), (b"3", 3)]
    assert found[0].attempts == 1
    rest, end = client.browse(jobs, start=following, limit=3)
    assert bodies(rest) == [b"4"] and end is None


def test_filters_select_on_read(client, topic):
    client.create_subscription("t-" + topic, topic, tags="paid || created")
    client.create_subscription("q-" + topic, topic, selector="region = 'eu'")
    producer = client.producer(topic)
    for tag, region in (("paid", "eu"), ("deleted", "eu"), ("created", "us")):
        properties = native.encode_properties([(10, tag.encode()), native.user_property("region", region)])
        producer.produce([tag.encode()], properties=properties)
    assert bodies(client.consumer("t-" + topic).take(2)) == [b"paid", b"created"]
    assert bodies(client.consumer("q-" + topic).take(2)) == [b"paid", b"deleted"]
    with pytest.raises(native.SluiceError) as error:
        client.create_subscription("bad-" + topic, topic, selector="region = ")
    assert error.value.status == 0x4005


def test_a_policy_can_be_changed(client, topic, jobs):
    changed = client.update_subscription(jobs, lease_us=5 * SECOND, max_attempts=4, backoff="1s,5s")
    assert changed["policy"]["lease_us"] == 5 * SECOND
    assert changed["policy"]["backoff"] == "1s,5s"
    assert client.describe_subscription(jobs)["policy"]["max_attempts"] == 4


# Delay


def test_a_scheduled_message_comes_within_50_ms_of_its_time(client, topic, jobs):
    consumer = client.consumer(jobs)
    producer = client.producer(topic)
    due = now() + 500_000
    producer.schedule(b"later", due)
    producer.produce([b"at once"])
    assert bodies(consumer.take(1)) == [b"at once"]
    assert bodies(consumer.take(1)) == [b"later"]
    assert 0 <= now() - due < 50_000


def test_a_scheduled_message_can_be_withdrawn(client, topic, jobs):
    consumer = client.consumer(jobs)
    scheduled = client.producer(topic).schedule(b"never", now() + 300_000)
    client.cancel_scheduled(scheduled)
    with pytest.raises(native.SluiceError) as error:
        client.cancel_scheduled(scheduled)
    assert error.value.status == 0x6004
    assert consumer.nothing_within(0.6)


def test_what_fell_due_while_the_server_was_down_comes_when_it_is_back(make_server):
    server = make_server().start()
    with native.Client(port=server.native_port) as client:
        client.create_topic("later")
        client.create_subscription("worker", "later")
        producer = client.producer("later")
        producer.schedule(b"second", now() + 600_000)
        producer.schedule(b"first", now() + 300_000)
        producer.schedule(b"far", now() + 3600 * SECOND)
        server.kill()
    time.sleep(0.7)
    server.start()
    with native.Client(port=server.native_port) as client:
        consumer = client.consumer("worker")
        assert bodies(consumer.take(2)) == [b"first", b"second"]
        assert consumer.nothing_within(0.2)


# Transactions


def test_a_transaction_commits_messages_and_settlements_together(client, topic, jobs):
    client.create_topic(topic + "-out")
    fill(client, topic, 2)
    consumer = client.consumer(jobs)
    messages = consumer.take(2)
    transaction = client.begin()
    first, second = client.producer(topic + "-out"), client.producer(topic)
    assert first.produce([b"result"], transaction=transaction) == native.NO_OFFSET
    second.produce([b"next"], transaction=transaction)
    assert client.settle_in(transaction, [message.receipt for message in messages]) == [0, 0]
    assert client.fetch(topic + "-out", 0)[0] == []
    assert lane(client, jobs)["backlog"] == 2
    client.commit(transaction)
    assert bodies(client.fetch(topic + "-out", 0)[0]) == [b"result"]
    assert bodies(consumer.take(1)) == [b"next"]
    assert lane(client, jobs)["acknowledged"] == 2


def test_a_transaction_that_is_rolled_back_has_not_happened(client, topic, jobs):
    fill(client, topic, 1)
    consumer = client.consumer(jobs)
    message = consumer.take(1)
    transaction = client.begin()
    client.producer(topic).produce([b"never"], transaction=transaction)
    client.settle_in(transaction, [message[0].receipt])
    client.roll_back(transaction)
    with pytest.raises(native.SluiceError) as error:
        client.commit(transaction)
    assert error.value.status == 0x6004
    assert consumer.nothing_within(0.2)
    consumer.accept(message)
    assert lane(client, jobs)["acknowledged"] == 1


def test_a_commit_whose_lease_is_lost_is_refused(client, topic, jobs):
    fill(client, topic, 1)
    consumer = client.consumer(jobs)
    message = consumer.take(1)
    transaction = client.begin()
    client.producer(topic).produce([b"never"], transaction=transaction)
    client.settle_in(transaction, [message[0].receipt])
    consumer.release(message)
    assert consumer.take(1)[0].attempt == 2
    with pytest.raises(native.SluiceError) as error:
        client.commit(transaction)
    assert error.value.status == LEASE_LOST
    client.roll_back(transaction)


def test_the_owner_is_asked_about_a_transaction_of_a_crashed_client(connect, client, topic):
    crashed = connect()
    transaction = crashed.begin(owner="shop", check_after_us=200_000)
    crashed.producer(topic).produce([b"paid"], transaction=transaction)
    crashed.close()
    client.adopt("shop")
    assert client.next_check() == (transaction, "shop")
    client.commit(transaction)
    assert bodies(client.fetch(topic, 0)[0]) == [b"paid"]


def test_a_transaction_that_nobody_answers_for_is_rolled_back(client, topic):
    transaction = client.begin(check_after_us=100_000)
    client.producer(topic).produce([b"never"], transaction=transaction)
    time.sleep(0.4)
    with pytest.raises(native.SluiceError) as error:
        client.commit(transaction)
    assert error.value.status == 0x6004


def test_a_prepared_transaction_survives_a_killed_server(make_server):
    server = make_server().start()
    with native.Client(port=server.native_port) as client:
        client.create_topic("jobs")
        transaction = client.begin(owner="shop")
        client.producer("jobs").produce([b"prepared"], transaction=transaction)
        lost = client.begin()
        client.producer("jobs").produce([b"lost"], transaction=lost)
        server.kill()
    server.start()
    with native.Client(port=server.native_port) as client:
        assert client.fetch("jobs", 0)[0] == []
        client.commit(transaction)
        client.roll_back(lost)
        assert bodies(client.fetch("jobs", 0)[0]) == [b"prepared"]


# Other clients


def test_a_client_of_version_1_reads_the_same_subscription(connect, client, topic):
    old = connect(newer=())
    old.create_subscription("s-" + topic, topic)
    fill(client, topic, 2)
    assert old.describe_subscription("s-" + topic)["partitions"] == [(0, 2)]
    assert bodies(old.subscribe(subscription="s-" + topic).records(2)) == [b"0", b"1"]
    with pytest.raises(native.SluiceError) as error:
        old.consumer("s-" + topic)
    assert error.value.status == 0x4003


def test_malformed_settlements_are_answered_and_the_connection_goes_on(client, topic, jobs):
    consumer = client.consumer(jobs)
    for opcode, body in (
        ("ACKNOWLEDGE", b""), ("ACKNOWLEDGE", b"\xff\xff"), ("RELEASE", b"\xff" * 9 + b"\x00\x00"),
        ("REJECT", b"\x02\x00\xff\xff\x00\x00"), ("EXTEND_LEASE", b"\x00\x00"),
    ):
        with pytest.raises(native.SluiceError) as error:
            client.request(opcode, body, handle=consumer.handle)
        assert error.value.status == 0x4001
    everything = struct.pack("<HHQQ", 1, 0xFFFF, 0, 2**64 - 1)
    client.request("ACKNOWLEDGE", everything, handle=consumer.handle)
    for handle in (0, consumer.handle + 1):
        with pytest.raises(native.SluiceError) as error:
            client.request("ACKNOWLEDGE", b"\x00\x00", handle=handle)
        assert error.value.status == 0x6004
    assert client.health()["accepts_writes"]


@pytest.mark.parametrize("opcode", ["SEEK", "PAUSE", "BIND", "UNBIND", "LIST_BINDINGS", "UPDATE_SUBSCRIPTION", "BROWSE"])
def test_verbs_on_a_subscription_that_is_not_there(client, opcode):
    rest = {
        "SEEK": struct.pack("<BQH", 0, 0, 0), "PAUSE": b"\x01", "BIND": native.binding("a"), "UNBIND": native.binding("a"),
        "LIST_BINDINGS": b"", "UPDATE_SUBSCRIPTION": b"\x00\x00", "BROWSE": struct.pack("<HQH", 0, 0, 1),
    }
    with pytest.raises(native.SluiceError) as error:
        client.request(opcode, native.text("nobody") + rest[opcode])
    assert error.value.status == 0x6002
