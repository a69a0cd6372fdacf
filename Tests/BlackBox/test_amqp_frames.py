"""AMQP 0-9-1 frame by frame: reply codes, and what ends a connection, its own and no other."""

import os
import random
import socket
import struct
import time

import pytest

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8


def short(text):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack(">B", len(text)) + text


def long(text):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack(">I", len(text)) + text


def frame(kind, channel, payload, end=b"\xce"):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def method(channel, class_id, method_id, arguments=b""):
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def publish(channel, exchange, key, body, bits=0, properties=b"\x00\x00"):
    frames = method(channel, 60, 40, b"\x00\x00" + short(exchange) + short(key) + bytes([bits]))
    frames += frame(HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + properties)
    return frames + (frame(BODY, channel, body) if body else b"")


def declare_queue(channel, name, bits=0, table=b""):
    return method(channel, 50, 10, b"\x00\x00" + short(name) + bytes([bits]) + long(table))


def declare_exchange(channel, name, kind, bits=0, table=b""):
    return method(channel, 40, 10, b"\x00\x00" + short(name) + short(kind) + bytes([bits]) + long(table))


def consume(channel, queue, tag="", bits=0, table=b""):
    return method(channel, 60, 20, b"\x00\x00" + short(queue) + short(tag) + bytes([bits]) + long(table))


class Raw:
    """A client that sends what it is told and reads frames."""

    def __init__(self, server, capabilities=("authentication_failure_close",)):
        self.socket = socket.create_connection(("127.0.0.1", server.amqp_port), timeout=10)
        self.capabilities = capabilities
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)
        return self

    def read_bytes(self, count):
        while len(self.buffer) < count:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self.buffer += piece
        piece, self.buffer = self.buffer[:count], self.buffer[count:]
        return piece

    def read(self):
        """The next frame that is no heartbeat."""
        while True:
            kind, channel, length = struct.unpack(">BHI", self.read_bytes(7))
            payload = self.read_bytes(length)
            assert self.read_bytes(1) == b"\xce"
            if kind != HEARTBEAT:
                return kind, channel, payload

    def expect(self, class_id, method_id, channel=None):
        kind, number, payload = self.read()
        assert kind == METHOD
        found = struct.unpack(">HH", payload[:4])
        assert found == (class_id, method_id), describe(payload)
        assert channel is None or number == channel
        return payload[4:]

    def expect_close(self, code):
        """Of a channel or a connection: the text, and the method that is blamed."""
        kind, channel, payload = self.read()
        assert kind == METHOD
        expected = (10, 50) if channel == 0 else (20, 40)
        assert struct.unpack(">HH", payload[:4]) == expected, describe(payload)
        (found,) = struct.unpack(">H", payload[4:6])
        length = payload[6]
        text = payload[7 : 7 + length].decode()
        assert found == code, f"{found} {text}"
        return text, struct.unpack(">HH", payload[7 + length :])

    def start(self):
        self.send(b"AMQP\x00\x00\x09\x01").expect(10, 10)
        return self

    def log_in(self, user="guest", password="guest"):
        fields = b"".join(short(name) + b"t\x01" for name in self.capabilities)
        properties = short("capabilities") + b"F" + long(fields)
        response = b"\x00" + user.encode() + b"\x00" + password.encode()
        self.send(method(0, 10, 11, long(properties) + short("PLAIN") + long(response) + short("en_US")))
        return self

    def open(self, frame_max=131072, heartbeat=0, virtual_host="/"):
        self.start().log_in().expect(10, 30)
        self.send(method(0, 10, 31, struct.pack(">HIH", 0, frame_max, heartbeat)))
        self.send(method(0, 10, 40, short(virtual_host) + short("") + b"\x00"))
        self.expect(10, 41)
        return self

    def channel(self, number=1):
        self.send(method(number, 20, 10, short(""))).expect(20, 11, number)
        return self

    def is_closed(self):
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True


def describe(payload):
    class_id, method_id = struct.unpack(">HH", payload[:4])
    return f"method {class_id}.{method_id}: {payload[4:]}"


@pytest.fixture
def client(server):
    return Raw(server).open().channel()


def test_another_protocol_is_told_which_one_is_spoken(server):
    raw = Raw(server).send(b"GET / HTTP/1.1\r\n\r\n")
    assert raw.read_bytes(8) == b"AMQP\x00\x00\x09\x01"
    assert raw.is_closed()


def test_the_channel_errors_of_queues(client):
    for request, code in [
        (declare_queue(1, "amq.mine"), 403),
        (declare_queue(1, "missing", bits=1), 404),
        (declare_queue(1, "bad", table=short("x-message-ttl") + b"S" + long("x")), 406),
        (method(1, 50, 20, b"\x00\x00" + short("missing") + short("amq.direct") + short("k") + b"\x00" + long(b"")), 404),
        (method(1, 50, 30, b"\x00\x00" + short("missing") + b"\x00"), 404),
        (consume(1, "missing"), 404),
        (method(1, 60, 70, b"\x00\x00" + short("missing") + b"\x00"), 404),
        (method(1, 60, 80, struct.pack(">QB", 7, 0)), 406),
        (method(1, 60, 90, struct.pack(">QB", 7, 0)), 406),
        (method(1, 60, 120, struct.pack(">QB", 7, 0)), 406),
        (publish(1, "missing", "k", b"x"), 404),
        (publish(1, "", "k", b"x", properties=b"\x01\x00" + short("soon")), 406),
        (publish(1, "", "k", b"x", properties=b"\x00\x10" + short("somebody")), 406),
        (declare_exchange(1, "amq.mine", "direct"), 403),
        (declare_exchange(1, "ex", "unknown-type"), 406),
        (declare_exchange(1, "missing", "direct", bits=1), 404),
        (method(1, 40, 20, b"\x00\x00" + short("amq.direct") + b"\x00"), 403),
        (method(1, 90, 20), 406),
    ]:
        client.send(request)
        client.expect_close(code)
        client.send(method(1, 20, 41)).channel()


def test_the_connection_errors(server):
    for request, code in [
        (method(0, 10, 40, short("/") + short("") + b"\x00"), 504),
        (method(1, 20, 10, short("")), 504),
        (method(7, 50, 10), 504),
        (method(1, 60, 9), 503),
        (frame(9, 1, b""), 501),
        (frame(METHOD, 1, b"\x00"), 501),
        (frame(HEARTBEAT, 0, b"x"), 501),
        (frame(METHOD, 1, struct.pack(">HH", 50, 10), end=b"\x00"), 501),
        (struct.pack(">BHI", METHOD, 1, 1 << 24) + b"x", 501),
        (frame(BODY, 1, b"x"), 505),
        (frame(HEADER, 1, struct.pack(">HHQ", 60, 0, 1) + b"\x00\x00"), 505),
        (publish(1, "", "q", b"x", bits=2), 540),
        (method(1, 60, 10, struct.pack(">IHB", 5, 0, 0)), 540),
        (method(1, 60, 110, b"\x00"), 540),
        (method(1, 20, 20, b"\x00"), 540),
        (declare_queue(1, "q", table=short("x") + b"?"), 502),
    ]:
        raw = Raw(server).open().channel()
        raw.send(request)
        raw.expect_close(code)
        raw.send(method(0, 10, 51))
        assert raw.is_closed()


def test_a_reused_consumer_tag_ends_the_connection(client):
    client.send(declare_queue(1, "q")).expect(50, 11)
    client.send(consume(1, "q", "tag")).expect(60, 21)
    client.send(consume(1, "q", "tag"))
    text, blamed = client.expect_close(530)
    assert text == "NOT_ALLOWED - attempt to reuse consumer tag 'tag'"
    assert blamed == (60, 20)


def test_what_follows_a_channel_error_is_dropped_until_close_ok(client):
    client.send(publish(1, "missing", "k", b"x") + declare_queue(1, "late") + publish(1, "", "late", b"y"))
    client.expect_close(404)
    client.send(method(1, 20, 41)).channel()
    client.send(declare_queue(1, "late", bits=1))
    client.expect_close(404)


def test_an_exclusive_consumer_is_alone(client):
    client.send(declare_queue(1, "q")).expect(50, 11)
    client.send(consume(1, "q", "a", bits=4)).expect(60, 21)
    client.send(consume(1, "q", "b"))
    text, _ = client.expect_close(403)
    assert text == "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"


def test_a_frame_maximum_of_4096_splits_bodies(server):
    raw = Raw(server).open(frame_max=4096).channel()
    raw.send(declare_queue(1, "q")).expect(50, 11)
    raw.send(consume(1, "q", "tag", bits=2)).expect(60, 21)
    body = os.urandom(10_000)
    raw.send(method(1, 60, 40, b"\x00\x00" + short("") + short("q") + b"\x00"))
    raw.send(frame(HEADER, 1, struct.pack(">HHQ", 60, 0, len(body)) + b"\x00\x00"))
    for start in range(0, len(body), 4088):
        raw.send(frame(BODY, 1, body[start : start + 4088]))
    raw.expect(60, 60)
    kind, _, payload = raw.read()
    assert kind == HEADER and payload[4:12] == struct.pack(">Q", len(body))
    received = b""
    while len(received) < len(body):
        kind, _, payload = raw.read()
        assert kind == BODY and len(payload) <= 4088
        received += payload
    assert received == body


def test_frames_may_come_byte_by_byte(server):
    raw = Raw(server).open().channel()
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = declare_queue(1, "q") + method(1, 85, 10, b"\x00") + publish(1, "", "q", b"hello") + consume(1, "q", "t")
    for place in range(len(data)):
        raw.send(data[place : place + 1])
        if place % 16 == 0:
            time.sleep(0.001)
    raw.expect(50, 11)
    raw.expect(85, 11)
    seen = {struct.unpack(">HH", payload[:4]) for kind, _, payload in (raw.read() for _ in range(5)) if kind == METHOD}
    assert seen == {(60, 21), (60, 60), (60, 80)}


def test_a_refused_login_is_told_to_who_wants_to_know(make_server, tmp_path):
    import subprocess

    from conftest import BINARY

    made = subprocess.run(
        [BINARY, "config", "user", "alice"], input="secret\n", capture_output=True, text=True, timeout=20
    )
    assert made.returncode == 0, made.stderr
    entry = next(line for line in made.stdout.splitlines() if "SCRAM-SHA-256" in line).strip().lstrip("- ").strip("'\"")
    server = make_server("users", [f"amqp.users={entry}"]).start()
    raw = Raw(server).start().log_in("alice", "wrong")
    text, _ = raw.expect_close(403)
    assert text.startswith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.")
    raw = Raw(server).start().log_in("nobody", "secret")
    raw.expect_close(403)
    silent = Raw(server, capabilities=()).start().log_in("alice", "wrong")
    with pytest.raises((EOFError, ConnectionResetError)):
        silent.read()
    Raw(server).start().log_in("alice", "secret").expect(10, 30)


def test_hostile_bytes_end_their_own_connection_only(server):
    bystander = Raw(server).open().channel()
    bystander.send(declare_queue(1, "q")).expect(50, 11)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    generator = random.Random(seed)
    good = declare_queue(1, "q") + publish(1, "", "q", b"x" * 50) + consume(1, "q", "t") + declare_exchange(1, "e", "topic")
    for _ in range(60):
        raw = Raw(server)
        try:
            if generator.random() < 0.2:
                raw.send(bytes(generator.randrange(256) for _ in range(200)))
            else:
                raw.open().channel()
                broken = bytearray(good)
                for _ in range(generator.randrange(1, 6)):
                    broken[generator.randrange(len(broken))] = generator.randrange(256)
                raw.send(bytes(broken[: generator.randrange(1, len(broken))]))
            raw.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        raw.socket.close()
    assert server.is_running()
    bystander.send(declare_queue(1, "q", bits=1)).expect(50, 11)
