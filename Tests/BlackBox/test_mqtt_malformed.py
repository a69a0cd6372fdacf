"""Packets that are against the specification get the reaction that it names and nothing else: a 5.0 client is told why
and closed, a 3.1.1 client is closed. The numbers are those of the specifications' normative statements."""

import struct

import pytest
from conftest import read_until_closed
from test_mqtt_sessions import Raw, packet, text, varint

MALFORMED, PROTOCOL_ERROR, ALIAS_INVALID = 0x81, 0x82, 0x94
ID = b"\x00\x01"
BAD_TEXTS = {
    "a byte that is no UTF-8": b"a\xff",
    "an overlong encoding": b"a\xc0\xaf",
    "half of a surrogate pair": b"a\xed\xa0\x80",
    "a sequence that breaks off": b"a\xe2\x82",
    "the null character": b"a\x00b",
}


def properties(level, encoded=b""):
    return varint(len(encoded)) + encoded if level == 5 else b""


def publish(level, topic=b"a", first=0x30, extra=b"", encoded=b""):
    return packet(first, text(topic) + extra + properties(level, encoded))


def subscribe(level, *filters, first=0x82, id=ID, encoded=b""):
    return packet(first, id + properties(level, encoded) + b"".join(text(name) + options for name, options in filters))


def unsubscribe(level, *filters, first=0xA2, id=ID):
    return packet(first, id + properties(level) + b"".join(text(name) for name in filters))


def both(name, make, reason):
    """One case for each version."""
    return [pytest.param(level, make(level), reason, id=f"{name}, {'5.0' if level == 5 else '3.1.1'}") for level in (4, 5)]


def new(name, bytes_, reason):
    """A case of 5.0 only."""
    return [pytest.param(5, bytes_, reason, id=f"{name}, 5.0")]


TEXT = [
    case
    for name, bad in BAD_TEXTS.items()
    for case in both(f"{name} in a topic name", lambda level, bad=bad: publish(level, bad), MALFORMED)
    + both(f"{name} in a filter", lambda level, bad=bad: subscribe(level, (bad, b"\x00")), MALFORMED)
    + both(f"{name} in a filter to go", lambda level, bad=bad: unsubscribe(level, bad), MALFORMED)
    + new(f"{name} in a content type", publish(5, encoded=b"\x03" + text(bad)), MALFORMED)
    + new(f"{name} in a user property", publish(5, encoded=b"\x26" + text("k") + text(bad)), MALFORMED)
]

FRAMING = [
    *both("packet type 0", lambda level: b"\x00\x00", MALFORMED),
    *[
        case
        for name, bytes_ in {
            "PUBACK": b"\x41\x02\x00\x01", "PUBREC": b"\x52\x02\x00\x01", "PUBREL": b"\x60\x02\x00\x01",
            "PUBCOMP": b"\x71\x02\x00\x01", "SUBSCRIBE": b"\x80\x00", "UNSUBSCRIBE": b"\xa0\x00", "PINGREQ": b"\xc1\x00",
            "DISCONNECT": b"\xe1\x00",
        }.items()
        for case in both(f"reserved flags of {name}", lambda level, bytes_=bytes_: bytes_, MALFORMED)
    ],
    *new("reserved flags of AUTH", b"\xf1\x00", MALFORMED),
    pytest.param(4, b"\xf0\x00", MALFORMED, id="packet type 15, 3.1.1"),
    *both("a remaining length of five bytes", lambda level: b"\xc0\x80\x80\x80\x80\x01", MALFORMED),
    *new("a remaining length with a byte too many", b"\xc0\x80\x00", MALFORMED),
    *new("a property length with a byte too many", packet(0x30, text("a") + b"\x80\x00"), MALFORMED),
    *both("bytes behind the last field", lambda level: b"\xc0\x01\x00", MALFORMED),
    *both("a string that runs past the packet", lambda level: packet(0x30, b"\x00\x09a"), MALFORMED),
    *both("a packet without its packet identifier", lambda level: b"\x40\x01\x00", MALFORMED),
    *both("CONNACK", lambda level: b"\x20\x02\x00\x00", PROTOCOL_ERROR),
    *both("SUBACK", lambda level: b"\x90\x03\x00\x01\x00", PROTOCOL_ERROR),
    *both("UNSUBACK", lambda level: b"\xb0\x02\x00\x01", PROTOCOL_ERROR),
    *both("PINGRESP", lambda level: b"\xd0\x00", PROTOCOL_ERROR),
    *both(
        "a second CONNECT",
        lambda level: packet(0x10, text("MQTT") + bytes([level, 2, 0, 60]) + properties(level) + text("x")),
        PROTOCOL_ERROR,
    ),
]

IDENTIFIERS = [
    *both("PUBLISH with packet identifier 0", lambda level: publish(level, first=0x32, extra=b"\0\0"), PROTOCOL_ERROR),
    *both("SUBSCRIBE with packet identifier 0", lambda level: subscribe(level, (b"a", b"\0"), id=b"\0\0"), PROTOCOL_ERROR),
    *both("UNSUBSCRIBE with packet identifier 0", lambda level: unsubscribe(level, b"a", id=b"\0\0"), PROTOCOL_ERROR),
]

PUBLISHES = [
    *both("QoS 3", lambda level: publish(level, first=0x36, extra=ID), MALFORMED),
    *both("DUP on QoS 0", lambda level: publish(level, first=0x38), MALFORMED),
    *both("+ in a topic name", lambda level: publish(level, b"a/+"), MALFORMED),
    *both("# in a topic name", lambda level: publish(level, b"#"), MALFORMED),
    *both("an empty topic name", lambda level: publish(level, b""), PROTOCOL_ERROR),
    *new("topic alias 0", publish(5, encoded=b"\x23\0\0"), ALIAS_INVALID),
    *new("a topic alias above the maximum", publish(5, encoded=b"\x23\xff\xff"), ALIAS_INVALID),
    *new("a topic alias that was not set", publish(5, b"", encoded=b"\x23\0\x01"), PROTOCOL_ERROR),
    *new("a subscription identifier", publish(5, encoded=b"\x0b\x01"), PROTOCOL_ERROR),
    *new("a response topic with a wildcard", publish(5, encoded=b"\x08" + text("a/#")), PROTOCOL_ERROR),
    *new("a payload format that does not exist", publish(5, encoded=b"\x01\x02"), PROTOCOL_ERROR),
    *new("a property of another packet", publish(5, encoded=b"\x11\0\0\0\1"), MALFORMED),
    *new("a property that does not exist", publish(5, encoded=b"\x7f\0"), MALFORMED),
    *new("a property twice", publish(5, encoded=b"\x03" + text("a") + b"\x03" + text("b")), PROTOCOL_ERROR),
]

SUBSCRIPTIONS = [
    *both("SUBSCRIBE without a filter", lambda level: subscribe(level), PROTOCOL_ERROR),
    *both("UNSUBSCRIBE without a filter", lambda level: unsubscribe(level), PROTOCOL_ERROR),
    *both("reserved bits of a subscription", lambda level: subscribe(level, (b"a", b"\xc0")), MALFORMED),
    *both("a subscription with QoS 3", lambda level: subscribe(level, (b"a", b"\x03")), None),
    *new("retain handling 3", subscribe(5, (b"a", b"\x30")), PROTOCOL_ERROR),
    *new("no-local on a shared subscription", subscribe(5, (b"$share/g/a", b"\x04")), PROTOCOL_ERROR),
    *new("subscription identifier 0", subscribe(5, (b"a", b"\0"), encoded=b"\x0b\x00"), PROTOCOL_ERROR),
    *[
        case
        for name in [b"", b"a#", b"#/a", b"a/#/b", b"a+", b"+a/b", b"$share/g", b"$share//a", b"$share/g/", b"$share/+/a"]
        for case in both(f"filter {name.decode()!r}", lambda level, name=name: subscribe(level, (name, b"\0")), MALFORMED)
    ],
]

OTHERS = [
    *new("PUBACK with a reason that is none of its own", b"\x40\x03\x00\x01\x05", PROTOCOL_ERROR),
    *new("PUBREL with a reason that is none of its own", b"\x62\x03\x00\x01\x80", PROTOCOL_ERROR),
    *new("DISCONNECT with a reason that is none of its own", b"\xe0\x01\x05", PROTOCOL_ERROR),
    *new("DISCONNECT with a reason of the server's", b"\xe0\x01\x8e", PROTOCOL_ERROR),
    *new("DISCONNECT with a session expiry that CONNECT did not have", b"\xe0\x07\x00\x05\x11\0\0\0\1", PROTOCOL_ERROR),
    *new("AUTH without a method", b"\xf0\x00", PROTOCOL_ERROR),
]


def check(server, level, malformed, reason):
    connection = server.connect(server.mqtt_port)
    connection.sendall(packet(0x10, text("MQTT") + bytes([level, 2, 0, 60]) + properties(level) + text("m")))
    head = connection.recv(2)
    while len(head) < 2 + head[1]:
        head += connection.recv(2 + head[1] - len(head))
    assert head[3] == 0
    # What follows must not be looked at any more.
    connection.sendall(malformed + b"\xc0\x00")
    farewell = read_until_closed(connection)
    if level == 4:
        assert farewell == b""
    else:
        assert farewell[:1] == b"\xe0" and len(farewell) == 2 + farewell[1]
        assert farewell[2] == reason if reason else farewell[2] in (MALFORMED, PROTOCOL_ERROR)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    """One server for all cases: what one client does wrong is nothing to the next."""
    from conftest import Server

    running = Server(tmp_path_factory.mktemp("malformed") / "data").start()
    yield running
    assert running.is_running()
    running.stop()


@pytest.mark.parametrize("level,malformed,reason", TEXT)
def test_text_that_is_malformed_ends_the_connection(module_server, level, malformed, reason):
    # [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-4.7.3-2]
    check(module_server, level, malformed, reason)


@pytest.mark.parametrize("level,malformed,reason", FRAMING)
def test_packets_that_are_no_packets_end_the_connection(module_server, level, malformed, reason):
    # [MQTT-1.5.5-1] [MQTT-2.1.3-1] [MQTT-3.1.0-2] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
    # [MQTT-3.15.1-1]
    check(module_server, level, malformed, reason)


@pytest.mark.parametrize("level,malformed,reason", IDENTIFIERS)
def test_packet_identifier_zero_ends_the_connection(module_server, level, malformed, reason):
    # [MQTT-2.2.1-3] [MQTT-2.3.1-1]
    check(module_server, level, malformed, reason)


@pytest.mark.parametrize("level,malformed,reason", PUBLISHES)
def test_messages_that_are_malformed_end_the_connection(module_server, level, malformed, reason):
    # [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-14]
    # [MQTT-3.3.4-6]
    check(module_server, level, malformed, reason)


@pytest.mark.parametrize("level,malformed,reason", SUBSCRIPTIONS)
def test_subscriptions_that_are_malformed_end_the_connection(module_server, level, malformed, reason):
    # [MQTT-3.8.3-2] [MQTT-3.8.3-4] [MQTT-3.8.3-5] [MQTT-3.10.3-2] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
    # [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    check(module_server, level, malformed, reason)


@pytest.mark.parametrize("level,malformed,reason", OTHERS)
def test_reasons_and_properties_that_do_not_belong_end_the_connection(module_server, level, malformed, reason):
    # [MQTT-3.4.2-1] [MQTT-3.6.2-1] [MQTT-3.14.2-1] [MQTT-4.12.0-7]
    check(module_server, level, malformed, reason)


# CONNECT


def connect(level, flags=2, payload=text("m"), encoded=b"", name="MQTT", keepalive=60):
    return packet(0x10, text(name) + bytes([level, flags]) + struct.pack("!H", keepalive) + properties(level, encoded) + payload)


WILL = text("w") + text("x")
BAD = text(b"a\xff")


def will(level, topic=text("w"), payload=text("x")):
    return text("m") + properties(level) + topic + payload


CONNECTS = [
    *both("the reserved flag", lambda level: connect(level, flags=3), MALFORMED),
    *both("will QoS 3", lambda level: connect(level, flags=0x1E, payload=will(level)), MALFORMED),
    *both("a will QoS without a will", lambda level: connect(level, flags=0x0A), MALFORMED),
    *both("will retain without a will", lambda level: connect(level, flags=0x22), MALFORMED),
    *both("no client identifier", lambda level: connect(level, payload=b""), MALFORMED),
    *both("a will that is not there", lambda level: connect(level, flags=0x06), MALFORMED),
    *both("a user name that is not there", lambda level: connect(level, flags=0x82), MALFORMED),
    *both("a password that is not there", lambda level: connect(level, flags=0xC2, payload=text("m") + text("u")), MALFORMED),
    *both("a user name without its flag", lambda level: connect(level, payload=text("m") + text("u")), MALFORMED),
    *both("a will without its flag", lambda level: connect(level, payload=text("m") + WILL), MALFORMED),
    *both("a client identifier that is not UTF-8", lambda level: connect(level, payload=BAD), MALFORMED),
    *both("a user name that is not UTF-8", lambda level: connect(level, flags=0x82, payload=text("m") + BAD), MALFORMED),
    *both("a will topic that is not UTF-8", lambda level: connect(level, flags=6, payload=will(level, BAD)), MALFORMED),
    # Which version its sender speaks is not known then.
    *both("flags in the fixed header", lambda level: b"\x11" + connect(level)[1:], None),
    pytest.param(4, connect(4, flags=0x42, payload=text("m") + text("p")), None, id="a password without a user name, 3.1.1"),
    *new("a receive maximum of 0", connect(5, encoded=b"\x21\0\0"), PROTOCOL_ERROR),
    *new("a maximum packet size of 0", connect(5, encoded=b"\x27\0\0\0\0"), PROTOCOL_ERROR),
    *new("a property twice", connect(5, encoded=b"\x11\0\0\0\1\x11\0\0\0\2"), PROTOCOL_ERROR),
    *new("request problem information 2", connect(5, encoded=b"\x17\2"), PROTOCOL_ERROR),
    *new("request response information 2", connect(5, encoded=b"\x19\2"), PROTOCOL_ERROR),
    *new("authentication data without a method", connect(5, encoded=b"\x16" + text("x")), PROTOCOL_ERROR),
    *new("a property of another packet", connect(5, encoded=b"\x23\0\1"), MALFORMED),
]


@pytest.mark.parametrize("level,malformed,reason", CONNECTS)
def test_a_connect_that_is_malformed_is_refused(module_server, level, malformed, reason):
    # [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-16] to [MQTT-3.1.2-19]
    # [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.1.4-1]
    connection = module_server.connect(module_server.mqtt_port)
    # [MQTT-3.1.4-6]: nothing behind it is processed.
    connection.sendall(malformed + packet(0x31, text("left/over") + properties(level) + b"x"))
    answer = read_until_closed(connection)
    if level == 4 or reason is None:
        assert answer == b""
    else:
        assert answer[:1] == b"\x20" and len(answer) == 2 + answer[1]
        # [MQTT-3.2.2-6]
        assert answer[2] == 0 and answer[3] == reason
    observer = Raw(module_server, "observer", clean=True)
    observer.subscribe(("left/over", 0))
    observer.silent()


def test_a_password_without_a_user_name_is_right_in_5(module_server):
    connection = module_server.connect(module_server.mqtt_port)
    connection.sendall(connect(5, flags=0x42, payload=text("m") + text("p")))
    assert connection.recv(4)[3] == 0


def test_more_messages_than_the_receive_maximum_are_a_violation(make_server):
    # [MQTT-3.3.4-7] [MQTT-3.3.4-8]
    server = make_server("receive", ["mqtt.receive_maximum=2"]).start()
    client = Raw(server, "r", clean=True)
    for number in range(1, 3):
        client.publish("a", "x", qos=2, id=number)
    for number in range(1, 3):
        client.expect(5, id=number)
    client.silent()
    client.publish("a", "x", qos=1, id=3)
    assert client.expect(14).reason == 0x93
