"""What the specifications ask of a server, statement by statement, as far as other tests do not show it.
docs/mqtt-conformance.md says which test shows which statement."""

import struct
import time

import pytest
from conftest import read_until_closed
from test_mqtt_sessions import (
    CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw, packet, publish,
    read_varint, restart, text,
)

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def clean(server, name, level=5, **options):
    return Raw(server, name, clean=True, level=level, expiry=None if level == 5 else 1000, **options)


# Identifiers


@pytest.mark.parametrize("level", [4, 5])
def test_client_identifiers_of_letters_and_digits_are_accepted(server, level):
    # [MQTT-3.1.3-5]
    for length in range(1, 24):
        identifier = (LETTERS + LETTERS)[length : 2 * length] or LETTERS[0]
        client = clean(server, identifier, level)
        assert client.connack.reason == 0
        client.drop()


def assigned(client):
    size, place = read_varint(client.connack.properties, 0)
    end = place + size
    lengths = {0x11: 4, 0x21: 2, 0x22: 2, 0x27: 4, 0x13: 2, 0x24: 1, 0x25: 1, 0x28: 1, 0x29: 1, 0x2A: 1}
    while place < end:
        key = client.connack.properties[place]
        if key == 0x12:
            length = struct.unpack_from("!H", client.connack.properties, place + 1)[0]
            return client.connack.properties[place + 3 : place + 3 + length].decode()
        place += 1 + lengths[key]
    return None


def test_a_client_without_an_identifier_gets_one_of_its_own(server):
    # [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
    clients = [clean(server, "") for _ in range(20)]
    names = {assigned(client) for client in clients}
    assert len(names) == 20 and None not in names
    for client in clients:
        client.silent()
    # It is the client's from then on: its session is found by it.
    client = Raw(server, "", clean=True, expiry=1000)
    name = assigned(client)
    client.drop()
    assert Raw(server, name).connack.session_present


# Text is compared byte by byte


@pytest.mark.parametrize("level", [4, 5])
def test_names_are_not_normalised(server, level):
    # [MQTT-4.7.3-4] [MQTT-1.5.4-3] [MQTT-1.5.3-3]
    client = clean(server, "n", level)
    names = ["caf\u00e9", "cafe\u0301", "\ufeffx", "x", "A", "a", "/a", "a/"]
    for number, name in enumerate(names, 1):
        client.subscribe((name, 0), id=number)
    for name in names:
        client.publish(name, name)
        received = client.expect(PUBLISH)
        assert (received.topic, received.payload) == (name, name)
    client.silent()


@pytest.mark.parametrize("level", [4, 5])
def test_unsubscribe_goes_by_the_text_of_the_filter(server, level):
    # [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
    client = clean(server, "u", level)
    client.subscribe(("a/+", 0), ("a/b", 0), ("c/#", 0))
    reasons = client.unsubscribe("a/b", "a/#", "c/#", "none", id=77)
    assert reasons == ([0, 0x11, 0, 0x11] if level == 5 else [])
    client.publish("a/b", "still")
    assert client.expect(PUBLISH).payload == "still"
    client.publish("c/x", "gone")
    client.silent()


def test_an_empty_topic_level_is_a_level(server):
    # [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    cases = {"+": {"a", "b"}, "+/+": {"/a", "a/", "a/b"}, "/+": {"/a"}, "a/#": {"a", "a/", "a/b", "a/b/c"}, "#": None}
    names = ["a", "b", "/a", "a/", "a/b", "a/b/c"]
    for filter_, expected in cases.items():
        client = clean(server, "level")
        client.subscribe((filter_, 0))
        for name in names:
            client.publish(name, "x")
        found = {client.expect(PUBLISH).topic for _ in (expected or names)}
        assert found == (expected or set(names))
        client.silent()
        client.drop()


# PUBLISH


@pytest.mark.parametrize("stored", [False, True])
def test_dup_is_not_passed_on(server, stored):
    # [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
    client = Raw(server, "d", clean=not stored)
    client.subscribe(("d", 2))
    sender = clean(server, "s")
    sender.publish("d", "one", qos=1, id=1, dup=True)
    sender.expect(PUBACK, id=1)
    sender.publish("d", "two", qos=2, id=2, dup=True)
    sender.expect(PUBREC, id=2)
    for payload, qos in [("one", 1), ("two", 2)]:
        client.expect(PUBLISH, payload=payload, qos=qos, dup=False)


@pytest.mark.parametrize("level", [4, 5])
def test_the_quality_is_the_lesser_of_publisher_and_subscription(server, level):
    # [MQTT-3.8.4-8] [MQTT-3.8.4-6] [MQTT-3.3.4-1]
    client = clean(server, "q", level)
    for granted in range(3):
        assert client.subscribe((f"q/{granted}", granted)) == [granted]
    sender = clean(server, "s", level)
    for granted in range(3):
        for sent in range(3):
            sender.publish(f"q/{granted}", "x", qos=sent, id=10 * granted + sent + 1)
            if sent:
                sender.expect(PUBACK if sent == 1 else PUBREC, id=10 * granted + sent + 1)
            received = client.expect(PUBLISH, qos=min(granted, sent))
            if received.qos == 1:
                client.ack(PUBACK, received.id)
            elif received.qos == 2:
                client.ack(PUBREC, received.id)
                client.expect(PUBREL, id=received.id)
                client.ack(PUBCOMP, received.id)


@pytest.mark.parametrize("stored", [False, True])
def test_properties_are_passed_on_unaltered(server, stored):
    # [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    client = Raw(server, "p", clean=not stored)
    client.subscribe(("p", 1))
    properties = [
        b"\x01\x01", b"\x03" + text("text/plain"), b"\x08" + text("answer/here"), b"\x09" + text(b"\x00\xff\x10"),
        b"\x26" + text("b") + text("2"), b"\x26" + text("a") + text("1"), b"\x26" + text("b") + text("2"),
        b"\x26" + text("") + text(""),
    ]
    sender = clean(server, "s")
    sender.publish("p", "x", qos=1, id=1, properties=b"".join(properties))
    sender.expect(PUBACK)
    received = client.expect(PUBLISH).properties
    for each in properties:
        assert each in received
    # The user properties in their order.
    assert b"".join(properties[4:]) in received
    assert len(received) == len(b"".join(properties))


# Retained messages


@pytest.mark.parametrize("level", [4, 5])
def test_retained_messages_are_replaced_and_removed_by_retained_messages_only(server, level):
    # [MQTT-3.3.1-5] to [MQTT-3.3.1-8] [MQTT-3.1.2-7]
    sender = clean(server, "s", level)

    def last():
        reader = clean(server, "reader", level)
        reader.subscribe(("r", 1))
        reader.send(b"\xc0\x00")
        found = []
        while (received := reader.read()).type == PUBLISH:
            assert received.retain
            found.append((received.payload, received.qos))
        reader.drop()
        return found

    def send(payload, retain=True, qos=1):
        sender.publish("r", payload, qos=qos, id=1, retain=retain)
        if qos:
            sender.expect(PUBACK)
        else:
            sender.silent()

    assert last() == []
    send("first")
    assert last() == [("first", 1)]
    send("second", qos=0)
    assert last() == [("second", 0)]
    send("third", retain=False)
    send("", retain=False)
    assert last() == [("second", 0)]
    sender.disconnect()
    assert last() == [("second", 0)]
    sender = clean(server, "s", level)
    watch = clean(server, "watch", level)
    watch.subscribe(("r", 0x18 if level == 5 else 0))
    watch.expect(PUBLISH)
    send("")
    # It goes to those that are there.
    watch.expect(PUBLISH, payload="", retain=level == 5)
    assert last() == []
    restart(server, "kill")
    assert last() == []


def test_retain_as_published(server):
    # [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    for stored in [False, True]:
        client = Raw(server, f"rap{stored}", clean=not stored)
        client.subscribe(("with", 0x09), ("without", 0x01))
        sender = clean(server, "s")
        for number, (topic, retain) in enumerate([("with", True), ("with", False), ("without", True), ("without", False)], 1):
            sender.publish(topic, "x", qos=1, id=number, retain=retain)
            sender.expect(PUBACK)
            received = client.expect(PUBLISH, topic=topic, retain=retain and topic == "with")
            client.ack(PUBACK, received.id)
        for topic in ["with", "without"]:
            sender.publish(topic, "", qos=1, id=9, retain=True)
            sender.expect(PUBACK)
        client.drop()


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_has_the_quality_and_the_flag_that_it_was_given(server, level, retain, qos):
    # [MQTT-3.1.2-8] [MQTT-3.1.2-12] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
    watch = clean(server, "watch", level)
    watch.subscribe(("will", 2))
    client = clean(server, "w", level, will={"topic": "will", "payload": "gone", "qos": qos, "retain": retain})
    client.drop()
    watch.expect(PUBLISH, topic="will", payload="gone", qos=qos, retain=False)
    late = clean(server, "late", level)
    late.subscribe(("will", 2))
    if retain:
        late.expect(PUBLISH, payload="gone", retain=True)
    else:
        late.silent()


@pytest.mark.parametrize("level", [4, 5])
def test_a_will_is_withdrawn_by_a_farewell(server, level):
    # [MQTT-3.14.4-3] [MQTT-3.1.2-10]
    watch = clean(server, "watch", level)
    watch.subscribe(("will", 0))
    client = clean(server, "w", level, will={"topic": "will", "payload": "gone"})
    client.disconnect()
    # Nor when the client comes back and goes again.
    clean(server, "w", level).drop()
    watch.silent()
    if level == 5:
        client = clean(server, "w", level, will={"topic": "will", "payload": "gone"})
        client.disconnect(reason=4)
        watch.expect(PUBLISH, payload="gone")


# Subscriptions


@pytest.mark.parametrize("level", [4, 5])
def test_a_subscription_is_replaced_without_losing_messages(server, level):
    # [MQTT-3.8.4-3] [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
    sender = clean(server, "s", level)
    sender.publish("kept", "kept", qos=1, id=1, retain=True)
    sender.expect(PUBACK)
    client = clean(server, "r", level)
    assert client.subscribe(("x", 0), ("y", 2), ("kept", 1), ("x", 1)) == [0, 2, 1, 1]
    client.expect(PUBLISH, payload="kept", retain=True)
    sender.publish("x", "once", qos=1, id=2)
    sender.expect(PUBACK)
    received = client.expect(PUBLISH, payload="once", qos=1)
    client.ack(PUBACK, received.id)
    # While messages come the subscription is made anew, again and again.
    for number in range(30):
        sender.publish("x", str(number), qos=1, id=number + 10)
        client.send(packet(0x82, struct.pack("!H", number + 100) + (b"\0" if level == 5 else b"") + text("x") + b"\x01"))
    payloads, subacks = [], 0
    while len(payloads) < 30 or subacks < 30:
        received = client.read()
        if received.type == PUBLISH:
            payloads.append(received.payload)
            client.ack(PUBACK, received.id)
        else:
            assert received.type == SUBACK
            subacks += 1
    assert payloads == [str(number) for number in range(30)]
    client.silent()


def test_what_is_in_flight_is_finished_behind_unsubscribe(server):
    # [MQTT-3.10.4-2] [MQTT-3.10.4-3]
    for stored in [False, True]:
        client = Raw(server, f"f{stored}", clean=not stored)
        client.subscribe(("f", 2))
        publish(server, "f", "one", qos=1)
        publish(server, "f", "two", qos=2)
        one, two = client.expect(PUBLISH, payload="one"), client.expect(PUBLISH, payload="two")
        client.unsubscribe("f")
        publish(server, "f", "three", qos=1)
        client.silent()
        client.ack(PUBACK, one.id)
        client.ack(PUBREC, two.id)
        client.expect(PUBREL, id=two.id, reason=0)
        client.ack(PUBCOMP, two.id)
        client.silent()
        client.drop()


def test_a_shared_subscription_gets_no_retained_messages(server):
    # MQTT 5.0 §3.8.4
    publish_retained = clean(server, "s")
    publish_retained.publish("sr", "kept", qos=1, id=1, retain=True)
    publish_retained.expect(PUBACK)
    client = clean(server, "m")
    client.subscribe(("$share/g/sr", 1))
    client.silent()


def test_what_a_member_refuses_goes_to_nobody(server):
    # [MQTT-4.8.2-6] [MQTT-4.4.0-2]
    members = [clean(server, f"m{number}") for number in range(2)]
    for member in members:
        member.subscribe(("$share/g/no", 1))
    publish(server, "no", "one", "two")
    for member in members:
        received = member.expect(PUBLISH)
        member.ack(PUBACK, received.id, reason=0x83)
    for member in members:
        member.silent()
    members[0].drop()
    members[1].silent()


# Flow


def test_a_message_that_is_refused_is_not_sent_again(server):
    # [MQTT-4.4.0-2]
    client = Raw(server, "no")
    client.subscribe(("no", 2))
    publish(server, "no", "one", qos=1)
    publish(server, "no", "two", qos=2)
    one, two = client.expect(PUBLISH, payload="one"), client.expect(PUBLISH, payload="two")
    client.ack(PUBACK, one.id, reason=0x80)
    client.ack(PUBREC, two.id, reason=0x80)
    client.silent()
    client.drop()
    again = Raw(server, "no")
    assert again.connack.session_present
    again.silent()


def test_everything_else_is_answered_while_the_window_is_full(server):
    # [MQTT-4.9.0-2] [MQTT-4.9.0-3] [MQTT-3.3.4-9] [MQTT-3.3.4-10]
    client = clean(server, "w", properties=b"\x21\x00\x02")
    client.subscribe(("w", 1))
    publish(server, "w", "one", "two", "three")
    first = client.expect(PUBLISH, payload="one")
    client.expect(PUBLISH, payload="two")
    client.silent()
    assert client.subscribe(("other", 0), id=5) == [0]
    client.unsubscribe("nothing", id=6)
    client.publish("z", "x", qos=1, id=7)
    client.expect(PUBACK, id=7)
    client.publish("z", "x", qos=2, id=8)
    client.expect(PUBREC, id=8)
    client.ack(PUBREL, 8)
    client.expect(PUBCOMP, id=8)
    client.ack(PUBACK, first.id)
    client.expect(PUBLISH, payload="three")


@pytest.mark.parametrize("level", [4, 5])
def test_acknowledgements_have_the_identifiers_of_what_they_acknowledge(server, level):
    # [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
    client = clean(server, "i", level)
    for id in [1, 2, 255, 256, 32767, 32768, 65535]:
        client.subscribe(("i", 0), id=id)
        client.unsubscribe("i", id=id)
        client.publish("z", "x", qos=1, id=id)
        client.expect(PUBACK, id=id)
        client.publish("z", "x", qos=2, id=id)
        client.expect(PUBREC, id=id)
        client.ack(PUBREL, id)
        client.expect(PUBCOMP, id=id)


def test_order_is_kept_for_each_publisher_name_and_quality(server):
    # [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    for stored in [False, True]:
        client = Raw(server, f"o{stored}", clean=not stored)
        client.subscribe(("o/#", 2))
        sender = clean(server, "s")
        count = 300
        for number in range(count):
            sender.publish(f"o/{number % 3}", str(number), qos=1, id=number + 1)
        seen = []
        while len(seen) < count:
            received = client.read()
            if received.type != PUBLISH:
                continue
            seen.append((received.topic, int(received.payload)))
            client.ack(PUBACK, received.id)
        for topic in ["o/0", "o/1", "o/2"]:
            numbers = [number for name, number in seen if name == topic]
            assert numbers == sorted(numbers)
        client.drop()


def test_a_refused_connection_is_closed(server):
    # [MQTT-3.2.2-7] [MQTT-3.1.3-8] [MQTT-3.2.2-4]
    connection = server.connect(server.mqtt_port)
    connection.sendall(packet(0x10, text("MQTT") + b"\x04\x00\x00\x3c" + text("")) + packet(0x30, text("x") + b"y"))
    assert read_until_closed(connection) == b"\x20\x02\x00\x02"


@pytest.mark.parametrize("level", [4, 5])
def test_a_session_ends_with_its_time_and_not_before_its_connection(make_server, level):
    # [MQTT-4.1.0-1] [MQTT-4.1.0-2]
    server = make_server("short", ["mqtt.max_session_expiry=1s"]).start()
    client = Raw(server, "s", level=level, expiry=1)
    client.subscribe(("s", 1))
    time.sleep(2)
    publish(server, "s", "still here")
    client.expect(PUBLISH, payload="still here")
    client.drop()
    deadline = time.monotonic() + 15
    while True:
        time.sleep(2.2)
        probe = server.sluice("session", "show", "s", check=False)
        if probe.returncode == 4:
            break
        assert time.monotonic() < deadline
    assert not Raw(server, "s", level=level, expiry=1).connack.session_present


def test_nothing_comes_before_connack_and_only_one(server):
    # [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.1.4-5]
    client = Raw(server, "first")
    client.subscribe(("first", 1))
    client.drop()
    publish(server, "first", "waits")
    again = Raw(server, "first")
    assert again.connack.type == CONNACK and again.connack.session_present
    again.expect(PUBLISH, payload="waits")
    again.send(b"\xc0\x00")
    assert again.read().type == PINGRESP


def test_the_server_sends_no_session_expiry_in_disconnect(server):
    # [MQTT-3.14.2-2] [MQTT-3.1.4-3] [MQTT-3.14.4-1] [MQTT-3.14.4-2]
    first = Raw(server, "same")
    Raw(server, "same")
    farewell = first.expect(DISCONNECT, reason=0x8E)
    # Its only property is the reason in words.
    size, place = read_varint(farewell.body, 1)
    assert farewell.body[place : place + 1] == b"\x1f"
    assert size == 3 + struct.unpack_from("!H", farewell.body, place + 1)[0]
    assert first.read() is None


def test_response_information_is_given_to_who_asks(server):
    # [MQTT-3.1.2-28]
    assert b"\x1a" + text("response/ask") in clean(server, "ask", properties=b"\x19\x01").connack.properties
    assert b"response" not in clean(server, "not", properties=b"\x19\x00").connack.properties
    assert b"response" not in clean(server, "none").connack.properties


def test_aliases_of_a_connection_end_with_it(server):
    # [MQTT-3.3.2-7] [MQTT-3.3.2-12]
    client = Raw(server, "alias")
    client.subscribe(("t/#", 1))
    for alias in range(1, 65):
        client.publish(f"t/{alias}", "set", properties=b"\x23" + struct.pack("!H", alias))
        client.expect(PUBLISH, topic=f"t/{alias}")
        client.publish("", "used", properties=b"\x23" + struct.pack("!H", alias))
        client.expect(PUBLISH, topic=f"t/{alias}", payload="used")
    client.drop()
    again = Raw(server, "alias")
    again.publish("", "x", properties=b"\x23\x00\x01")
    again.expect(DISCONNECT, reason=0x82)


def test_an_exchange_is_finished_when_its_message_has_expired(server):
    # [MQTT-4.3.3-13]
    sender = clean(server, "s")
    sender.publish("e", "x", qos=2, id=2, properties=b"\x02\0\0\0\x01")
    sender.expect(PUBREC, id=2)
    time.sleep(1.5)
    sender.publish("e", "x", qos=2, id=2, dup=True, properties=b"\x02\0\0\0\x01")
    sender.expect(PUBREC, id=2, reason=0)
    sender.ack(PUBREL, 2)
    sender.expect(PUBCOMP, id=2, reason=0)


# Beyond what most clients do


@pytest.mark.parametrize("length", [249, 250, 5_000, 60_000])
def test_client_identifiers_may_be_long(server, length):
    name = "c" * (length - 1) + "/"
    client = Raw(server, name)
    assert client.connack.reason == 0
    client.subscribe(("long", 1))
    client.drop()
    publish(server, "long", "one")
    restart(server, "kill")
    # Another one of the same length is another client.
    other = Raw(server, "d" + name[1:])
    assert not other.connack.session_present
    again = Raw(server, name)
    assert again.connack.session_present
    again.expect(PUBLISH, payload="one")
    rows = server.sluice("session", "list").stdout.splitlines()
    assert {row.split("\t")[0] for row in rows} == {name, "d" + name[1:]}


def test_a_message_that_is_never_acknowledged_stalls_nobody(server):
    # Identifiers follow from places in the inbox, and there are 32,767 of them.
    client = Raw(server, "stubborn", properties=b"\x21\x03\xe8")
    client.subscribe(("span", 1))
    count, sent, seen = 32_766, 0, 0
    sender = clean(server, "s", level=4)
    sender.publish("span", "first", qos=1, id=1)
    sender.expect(PUBACK)
    first = client.expect(PUBLISH, payload="first")
    while seen < count:
        burst = min(500, count - sent)
        body = b"".join(
            packet(0x32, text("span") + struct.pack("!H", number % 500 + 1) + str(number).encode())
            for number in range(sent, sent + burst)
        )
        sender.send(body)
        sent += burst
        for _ in range(burst):
            sender.expect(PUBACK)
        acks = b""
        for _ in range(burst):
            received = client.expect(PUBLISH, payload=str(seen))
            assert received.id != first.id
            acks += b"\x40\x02" + struct.pack("!H", received.id)
            seen += 1
        client.send(acks)
    client.silent()
    # The next one would have the identifier of the first. Each keeps its own.
    sender.publish("span", "last", qos=1, id=1)
    sender.expect(PUBACK)
    last = client.expect(PUBLISH, payload="last")
    assert last.id != first.id
    client.drop()
    restart(server, "kill")
    again = Raw(server, "stubborn")
    assert again.expect(PUBLISH, payload="first", dup=True).id == first.id
    assert again.expect(PUBLISH, payload="last").id == last.id
    again.silent()
