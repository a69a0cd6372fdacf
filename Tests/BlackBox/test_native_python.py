"""The native protocol as its page describes it, against the real server.

The fixture `server` comes from conftest.py and has `native_port`.
"""

import os
import socket
import struct
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "native_client"))
import sluice_native as native  # noqa: E402


@pytest.fixture
def client(server):
    with native.Client(port=server.native_port) as client:
        yield client


@pytest.fixture
def topic(client):
    name = "py-" + uuid.uuid4().hex[:12]
    client.create_topic(name)
    return name


def test_crc32c_of_the_page():
    assert native.crc32c(b"123456789") == 0xE3069283


def test_hello_lists_opcodes(client):
    assert client.version == 1
    assert client.opcodes[native.OP["FETCH"]] == 1
    assert client.opcodes[native.OP["SUBSCRIBE"]] == 2
    assert native.OP["AUTH"] not in client.opcodes


def test_produce_and_fetch(client, topic):
    producer = client.producer(topic + "/eu/created")
    assert producer.topic == topic
    properties = native.encode_properties([(1, b"text/plain"), native.user_property("a", "1")])
    assert producer.produce([b"one", b"two"], ordering_key=b"k", properties=properties) == 0
    assert producer.produce([b"three"]) == 2
    records, first, following = client.fetch(topic, 1)
    assert (first, following) == (0, 3)
    assert [record.body for record in records] == [b"two", b"three"]
    assert records[0].name == topic + "/eu/created"
    assert records[0].ordering_key == b"k"
    assert records[0].properties == [(1, b"text/plain"), native.user_property("a", "1")]
    assert records[0].stored_at > 0


def test_fetch_waits_for_the_first_message(server, client, topic):
    with native.Client(port=server.native_port) as other:
        producer = other.producer(topic)
        client.correlation += 1
        body = struct.pack("<HIIQB", 0, 5_000, 1 << 20, 0, 1) + native.text(topic)
        client.send(native.REQUEST, "FETCH", body, client.correlation)
        producer.produce([b"late"])
        frame = client.receive()
        assert frame.opcode == native.OP["FETCH"] and frame.status(native.Reader(frame.body)) is None


def test_a_batch_that_comes_again_is_stored_once(server, client, topic):
    producer = client.producer(topic)
    batch = producer.encode([b"a", b"b"])
    producer.send_batch(batch)
    assert producer.next_ack() == (0, [(0, 2, 0)])
    with native.Client(port=server.native_port) as other:
        again = other.producer(topic, resume=producer.producer)
        assert (again.producer, again.epoch) == (producer.producer, producer.epoch)
        assert again.sequences[0] == 2
        again.send_batch(batch)
        assert again.next_ack() == (0, [(0, 2, 0)])
        assert other.fetch(topic, 0)[2] == 2


def test_a_gap_is_refused(client, topic):
    producer = client.producer(topic)
    producer.produce([b"a"])
    producer.send_batch(producer.encode([b"b"], sequence=5))
    with pytest.raises(native.SluiceError) as error:
        producer.next_ack()
    assert error.value.status == 0x7002
    assert error.value.first_sequence == 5


def test_a_damaged_batch_is_refused_and_the_connection_goes_on(client, topic):
    producer = client.producer(topic)
    batch = bytearray(producer.encode([b"abc"]))
    batch[-1] ^= 1
    producer.send_batch(bytes(batch))
    with pytest.raises(native.SluiceError) as error:
        producer.next_ack()
    assert error.value.status == 0x4006
    assert producer.produce([b"abc"]) == 0


def test_a_subscription_goes_on_behind_its_commit(server, client, topic):
    producer = client.producer(topic)
    for number in range(6):
        producer.produce([b"%d" % number])
    name = "s-" + topic
    subscription = client.subscribe(topic, name, create=True)
    assert [record.body for record in subscription.records(6)] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    subscription.commit(0, 4)
    subscription.unsubscribe()
    assert client.describe_subscription(name)["partitions"][0] == (4, 6)
    with native.Client(port=server.native_port) as other:
        again = other.subscribe(subscription=name)
        assert [record.body for record in again.records(2)] == [b"4", b"5"]


def test_a_filter_brings_what_matches(client, topic):
    subscription = client.subscribe(topic + "/+/created")
    client.producer(topic + "/eu/created").produce([b"yes"])
    client.producer(topic + "/eu/deleted").produce([b"no"])
    client.producer(topic + "/us/created").produce([b"also"])
    assert [record.body for record in subscription.records(2)] == [b"yes", b"also"]


def test_without_credit_nothing_comes(client, topic):
    producer = client.producer(topic)
    for number in range(4):
        producer.produce([b"%d" % number])
    subscription = client.subscribe(topic, messages=2)
    subscription.returns_credit = False
    assert [record.body for record in subscription.records(2)] == [b"0", b"1"]
    client.health()
    assert not client.pushes[subscription.handle]
    subscription.credit(1, 1 << 20)
    assert subscription.records(1)[0].body == b"2"


def test_what_is_reserved_answers_not_supported(client):
    for opcode in (native.OP["AUTH"], 0x0401, 0x0408, 0xEEEE):
        with pytest.raises(native.SluiceError) as error:
            client.request(opcode)
        assert error.value.status == 0x4003


def test_malformed_requests_are_answered_and_the_connection_goes_on(client):
    with pytest.raises(native.SluiceError) as error:
        client.request("FETCH", b"\x00")
    assert error.value.status == 0x4001
    with pytest.raises(native.SluiceError) as error:
        client.describe_topic("there-is-no-such-topic")
    assert error.value.status == 0x6001
    assert client.health()["accepts_writes"]


@pytest.mark.parametrize("bad", [
    b"N1P\n\x01\x00\x00\x00" + b"\x00\x00\x00\x00",
    b"N1P\n\x01\x00\x00\x00" + b"\xff\xff\xff\xff",
    b"N1P\n\x09\x00\x00\x00",
    b"N1P\n\x01\x00\x00\x00" + struct.pack("<IBBHII", 12, 0, 0, 0x010A, 1, 0),
])
def test_what_cannot_go_on_ends_with_a_reason(server, bad):
    with socket.create_connection(("127.0.0.1", server.native_port), timeout=10) as connection:
        connection.sendall(bad)
        received = b""
        while True:
            data = connection.recv(4096)
            if not data:
                break
            received += data
    assert received[:4] == b"N1P\n"
    assert received[8 + 4] == native.GOAWAY
    assert struct.unpack_from("<H", received, 8 + 16)[0] != 0


def test_another_protocol_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.native_port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        try:
            assert connection.recv(4096) == b""
        except ConnectionResetError:
            pass
