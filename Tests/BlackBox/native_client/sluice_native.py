"""A small client of the native protocol, written from docs/native-protocol.md alone.

Python 3.9 or newer, standard library only. It keeps one connection, waits for each answer, and is meant to show that
the page is enough, and to test a server; not to be fast.
"""

import socket
import struct
import time
from collections import deque

PREAMBLE = b"N1P\n" + struct.pack("<HH", 1, 0)
REQUEST, RESPONSE, PUSH, CREDIT, CANCEL, PING, PONG, GOAWAY = range(8)
ONE_WAY, TAIL, CHECKSUM = 0x02, 0x04, 0x08
OP = {
    "HELLO": 0x0001, "AUTH": 0x0002, "GOAWAY": 0x0003, "PING": 0x0004, "CANCEL": 0x0005, "HEALTH": 0x0006,
    "OPEN_PRODUCER": 0x0101, "PRODUCE": 0x0102, "PRODUCE_ACK": 0x0103, "CLOSE_PRODUCER": 0x0104,
    "SUBSCRIBE": 0x0105, "CREDIT": 0x0106, "DELIVER": 0x0107, "UNSUBSCRIBE": 0x0108, "DETACHED": 0x0109,
    "FETCH": 0x010A, "FIND_OFFSET": 0x010B, "COMMIT": 0x0201,
    "CREATE_TOPIC": 0x1001, "DELETE_TOPIC": 0x1002, "DESCRIBE_TOPIC": 0x1003, "LIST_TOPICS": 0x1004,
    "CREATE_SUBSCRIPTION": 0x1011, "DELETE_SUBSCRIPTION": 0x1012, "DESCRIBE_SUBSCRIPTION": 0x1013,
    "LIST_SUBSCRIPTIONS": 0x1014,
}
ALL_PARTITIONS = 0xFFFF
FIRST, NEXT, OFFSET, TIME = range(4)
MAX_FRAME = 17 << 20


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return table


_CRC = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ProtocolError("a varint has more than ten bytes")


def text(value):
    data = value.encode()
    return struct.pack("<H", len(data)) + data


class ProtocolError(Exception):
    """The server sent what the page does not allow."""


class SluiceError(Exception):
    """The server answered with an error."""

    def __init__(self, status, message="", hint="", retry_after_ms=0):
        super().__init__(f"0x{status:04X}: {message}" + (f" ({hint})" if hint else ""))
        self.status, self.message, self.hint, self.retry_after_ms = status, message, hint, retry_after_ms

    @property
    def status_class(self):
        return self.status >> 12


class Reader:
    """Reads fields one behind the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def raw(self, count):
        if self.at + count > len(self.data):
            raise ProtocolError("a field ends behind its frame")
        self.at += count
        return self.data[self.at - count:self.at]

    def text(self):
        return self.raw(self.take("H")).decode()

    def list(self, read):
        return [read() for _ in range(self.take("H"))]

    @property
    def is_at_end(self):
        return self.at >= len(self.data)


class Frame:
    def __init__(self, data):
        self.kind, self.flags, self.opcode, self.correlation, self.handle = struct.unpack_from("<BBHII", data, 4)
        end = len(data)
        if self.flags & CHECKSUM:
            end -= 4
            if crc32c(data[:end]) != struct.unpack_from("<I", data, end)[0]:
                raise ProtocolError("a frame's checksum does not fit")
        self.body = data[16:end]

    def status(self, reader, error_at=8):
        """Reads the status; returns the error, or None with the reader at the answer."""
        status, _, retry = reader.take("HHI")
        if status == 0:
            return None
        reader.at = error_at
        texts = {}
        if self.flags & TAIL:
            while not reader.is_at_end:
                tag, length = reader.take("HI")
                texts[tag] = reader.raw(length).decode(errors="replace")
        return SluiceError(status, texts.get(1, ""), texts.get(2, ""), retry)


class Record:
    """One message."""

    def __init__(self, offset, topic, partition, name, ordering_key, properties, body, born_at, stored_at):
        self.offset, self.topic, self.partition, self.name = offset, topic, partition, name
        self.ordering_key, self.properties, self.body = ordering_key, properties, body
        self.born_at, self.stored_at = born_at, stored_at


def encode_batch(records, producer=0, epoch=0, sequence=0, routing_key=None, is_absolute=False):
    """Encodes a batch of (body, ordering key or None, encoded properties) with one name."""
    base_time = time.time_ns() // 1000
    out = bytearray()
    for body, ordering_key, properties in records:
        flags, head = 0, b""
        if routing_key is not None:
            flags |= 0x02 | (0x80 if is_absolute else 0)
            head += varint(len(routing_key)) + routing_key
        if ordering_key is not None:
            flags |= 0x04
            head += varint(len(ordering_key)) + ordering_key
        if properties:
            flags |= 0x08
            head += varint(len(properties)) + properties
        out += varint(1 + len(head) + len(body)) + bytes([flags]) + head + body
    covered = struct.pack("<IQQIHHIIII", len(records), producer, base_time, sequence, epoch, 0, 0, len(out), 0, 0) + out
    length = 36 + len(covered) - 4
    return struct.pack("<IHHQQII", length, 1, 0, 0, 0, 0, 0) + struct.pack("<I", crc32c(covered)) + covered


def decode_batch(data, at, topic, partition, ranges=None, start=0):
    """Decodes the batch at `at`: its records and the position behind it."""
    length, form, _, base, stored, _, stamp = struct.unpack_from("<IHHQQII", data, at)
    end = at + 4 + length
    if form != 1 or end > len(data) or length < 76:
        raise ProtocolError("a batch of an unknown format or cut short")
    if crc32c(data[at:at + 28]) != stamp:
        raise ProtocolError("a batch's stamp checksum does not fit")
    if crc32c(data[at + 36:end]) != struct.unpack_from("<I", data, at + 32)[0]:
        raise ProtocolError("a batch's data checksum does not fit")
    count, _, base_time = struct.unpack_from("<IQQ", data, at + 36)
    records, place = [], at + 80
    for index in range(count):
        size, place = read_varint(data, place)
        next_place = place + size
        flags, place, delta = data[place], place + 1, 0
        if flags & 0x01:
            delta, place = read_varint(data, place)
        fields = {}
        for bit in (0x02, 0x04, 0x08):
            if flags & bit:
                size, place = read_varint(data, place)
                fields[bit] = bytes(data[place:place + size])
                place += size
        body, place = bytes(data[place:next_place]), next_place
        if base + index < start or (ranges and not any(first <= index <= last for first, last in ranges)):
            continue
        key = fields.get(0x02)
        if flags & 0x80:
            name = key.decode()
        else:
            name = topic + ("/" + key.decode() if key is not None else "")
        properties = decode_properties(fields.get(0x08, b""))
        records.append(
            Record(base + index, topic, partition, name, fields.get(0x04), properties, body, base_time + delta, stored)
        )
    if place != end:
        raise ProtocolError("bytes follow a batch's records")
    return records, base + count, end


def encode_properties(properties):
    """Encodes (id, bytes) pairs."""
    return b"".join(varint(number) + varint(len(value)) + value for number, value in properties)


def user_property(name, value):
    name = name.encode()
    return 64, varint(len(name)) + name + value.encode()


def decode_properties(data):
    at, result = 0, []
    while at < len(data):
        number, at = read_varint(data, at)
        size, at = read_varint(data, at)
        result.append((number, data[at:at + size]))
        at += size
    return result


class Client:
    """A connection."""

    def __init__(self, host="127.0.0.1", port=7400, name="python", timeout=10.0):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.correlation = 0
        self.pushes = {}
        self.goaway = None
        self.socket.sendall(PREAMBLE)
        if self._read(8)[:4] != PREAMBLE[:4]:
            raise ProtocolError("the server does not speak the native protocol")
        hello = struct.pack("<HHQI", 1, 1, 0, MAX_FRAME) + text(name) + text("1") + struct.pack("<H", 0)
        answer = self.request("HELLO", hello)
        self.version, self.features = answer.take("HQ")
        (self.max_frame, self.max_requests, self.max_handles, self.idle_ms, self.max_batch, self.max_records,
         self.max_credit_messages, self.max_credit_bytes) = answer.take("IIIIIIQQ")
        self.server_name, self.server_version = answer.text(), answer.text()
        self.opcodes = dict(answer.list(lambda: answer.take("HH")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # Frames

    def _read(self, count):
        while len(self.buffer) < count:
            data = self.socket.recv(1 << 16)
            if not data:
                raise self.goaway or ConnectionError("the server closed the connection")
            self.buffer += data
        result = bytes(self.buffer[:count])
        del self.buffer[:count]
        return result

    def send(self, kind, opcode, body=b"", correlation=0, handle=0, flags=0):
        head = struct.pack("<IBBHII", 12 + len(body), kind, flags, OP.get(opcode, opcode), correlation, handle)
        self.socket.sendall(head + body)

    def receive(self):
        """The next frame that is not a ping, which is answered."""
        while True:
            head = self._read(4)
            length = struct.unpack("<I", head)[0]
            if not 12 <= length <= MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes")
            frame = Frame(head + self._read(length))
            if frame.kind == PING:
                self.send(PONG, "PING", correlation=frame.correlation)
            elif frame.kind == GOAWAY:
                self.goaway = frame.status(Reader(frame.body))
            elif frame.kind != PONG:
                return frame

    def request(self, opcode, body=b"", handle=0, flags=0):
        """Asks and waits; pushes that come before the answer are kept for their handle."""
        self.correlation += 1
        mine = self.correlation
        self.send(REQUEST, opcode, body, mine, handle, flags)
        while True:
            frame = self.receive()
            if frame.kind == PUSH:
                self.pushes.setdefault(frame.handle, deque()).append(frame)
            elif frame.correlation == mine:
                reader = Reader(frame.body)
                error = frame.status(reader)
                if error:
                    raise error
                return reader

    def next_push(self, handle):
        waiting = self.pushes.setdefault(handle, deque())
        while not waiting:
            frame = self.receive()
            if frame.kind == RESPONSE:
                error = frame.status(Reader(frame.body))
                raise error or ProtocolError("an answer that nobody waits for")
            self.pushes.setdefault(frame.handle, deque()).append(frame)
        return waiting.popleft()

    # Topics and subscriptions

    @staticmethod
    def _topic(reader):
        number, created = reader.take("IQ")
        name, captures = reader.text(), reader.list(reader.text)
        return {"id": number, "created": created, "name": name, "captures": captures,
                "partitions": reader.list(lambda: reader.take("QQ"))}

    @staticmethod
    def _subscription(reader):
        topic_id, created, attached = reader.take("IQB")
        return {"topic_id": topic_id, "created": created, "attached": bool(attached), "name": reader.text(),
                "topic": reader.text(), "partitions": reader.list(lambda: reader.take("QQ"))}

    def create_topic(self, name, partitions=1, captures=()):
        body = struct.pack("<H", partitions) + text(name) + struct.pack("<H", len(captures))
        answer = self.request("CREATE_TOPIC", body + b"".join(map(text, captures)))
        is_new = bool(answer.take("B"))
        return dict(self._topic(answer), is_new=is_new)

    def describe_topic(self, name, resolve=False):
        return self._topic(self.request("DESCRIBE_TOPIC", bytes([resolve]) + text(name)))

    def delete_topic(self, name):
        self.request("DELETE_TOPIC", text(name))

    def list_topics(self, limit=100, after=""):
        answer = self.request("LIST_TOPICS", struct.pack("<H", limit) + text(after))
        return answer.list(lambda: self._topic(answer)), answer.text()

    def create_subscription(self, name, topic, start=FIRST, value=0):
        answer = self.request("CREATE_SUBSCRIPTION", struct.pack("<BQ", start, value) + text(name) + text(topic))
        is_new = bool(answer.take("B"))
        return dict(self._subscription(answer), is_new=is_new)

    def describe_subscription(self, name):
        return self._subscription(self.request("DESCRIBE_SUBSCRIPTION", text(name)))

    def health(self):
        answer = self.request("HEALTH")
        accepts, durable, end = answer.take("BQQ")
        return {"accepts_writes": bool(accepts), "durable": durable, "end": end, "reason": answer.text()}

    # Messages

    def producer(self, address, resume=0, anonymous=False):
        return Producer(self, address, resume, anonymous)

    def subscribe(self, address="", subscription="", start=FIRST, value=0, partition=ALL_PARTITIONS, consumer="",
                  create=False, messages=1000, size=1 << 20):
        return Subscription(self, address, subscription, start, value, partition, consumer, create, messages, size)

    def fetch(self, topic, offset, partition=0, max_bytes=1 << 20, wait_ms=0):
        """The records from an offset on, the oldest and the next offset."""
        body = struct.pack("<HIIQB", partition, wait_ms, max_bytes, offset, 1) + text(topic)
        answer = self.request("FETCH", body)
        _, first, following, size = answer.take("IQQI")
        data, at, records = answer.raw(size), 0, []
        while at < len(data):
            some, _, at = decode_batch(data, at, topic, partition, start=offset)
            records += some
        return records, first, following

    def find_offset(self, topic, kind, value=0, partition=0):
        body = struct.pack("<HBQB", partition, kind, value, 1) + text(topic)
        return self.request("FIND_OFFSET", body).take("QQ")


class Producer:
    def __init__(self, client, address, resume, anonymous):
        self.client = client
        answer = client.request("OPEN_PRODUCER", struct.pack("<HQ", 1 if anonymous else 0, resume) + text(address))
        self.handle, self.topic_id, self.producer, self.epoch, self.partitions, sequence = answer.take("IIQHHI")
        self.topic = answer.text()
        placement, key = answer.take("B"), None
        raw = answer.raw(answer.take("H"))
        if placement & 1:
            key = raw
        self.routing_key, self.is_absolute = key, bool(placement & 2)
        self.sequences = {0: sequence}

    def encode(self, bodies, partition=0, ordering_key=None, properties=b"", sequence=None):
        if sequence is None:
            sequence = self.sequences.get(partition, 0)
        records = [(body, ordering_key, properties) for body in bodies]
        return encode_batch(records, self.producer, self.epoch, sequence, self.routing_key, self.is_absolute)

    def send_batch(self, batch, partition=0, acknowledgement=2):
        """Sends without waiting."""
        self.client.send(REQUEST, "PRODUCE", struct.pack("<HBB", partition, acknowledgement, 0) + batch,
                         handle=self.handle, flags=ONE_WAY)

    def next_ack(self):
        """The next acknowledgement: (partition, [(first sequence, records, offset)])."""
        frame = self.client.next_push(self.handle)
        reader = Reader(frame.body)
        status, _, retry, partition, _, count, _ = reader.take("HHIHHIQ")
        runs = [reader.take("IIQ") for _ in range(count)]
        if status:
            error = frame.status(Reader(frame.body), error_at=reader.at)
            error.retry_after_ms = retry
            error.first_sequence = runs[0][0] if runs else None
            raise error
        return partition, runs

    def produce(self, bodies, partition=0, ordering_key=None, properties=b"", acknowledgement=2):
        """Sends one batch, waits until it is stored, and returns the offset of its first record."""
        sequence = self.sequences.get(partition, 0)
        self.send_batch(self.encode(bodies, partition, ordering_key, properties), partition, acknowledgement)
        while True:
            of, runs = self.next_ack()
            for first, count, offset in runs:
                behind = (sequence - first) & 0xFFFFFFFF
                if of == partition and behind < count:
                    self.sequences[partition] = (sequence + len(bodies)) & 0xFFFFFFFF
                    return offset + behind

    def close(self):
        self.client.request("CLOSE_PRODUCER", handle=self.handle)


class Subscription:
    """A reader with credit, which it gives back as it takes."""

    def __init__(self, client, address, subscription, start, value, partition, consumer, create, messages, size):
        self.client = client
        body = struct.pack("<HHBQQQ", 1 if create else 0, partition, start, value, messages, size)
        answer = client.request("SUBSCRIBE", body + text(address) + text(subscription) + text(consumer))
        self.handle, self.topic_id, self.partitions = answer.take("IIH")
        self.topic = answer.text()
        self.returns_credit = True

    def next_batch(self):
        """The records of the next delivery, its partition, and the position behind it."""
        frame = self.client.next_push(self.handle)
        reader = Reader(frame.body)
        if frame.opcode == OP["DETACHED"]:
            raise frame.status(reader)
        partition, _, count = reader.take("HHI")
        ranges = [reader.take("II") for _ in range(count)]
        records, position, end = decode_batch(frame.body, reader.at, self.topic, partition, ranges)
        if self.returns_credit:
            self.credit(len(records), end - reader.at)
        return records, partition, position

    def records(self, count):
        """The next `count` records; the rest of the last batch is dropped."""
        result = []
        while len(result) < count:
            result += self.next_batch()[0]
        return result[:count]

    def credit(self, messages, size):
        self.client.send(CREDIT, "CREDIT", struct.pack("<QQ", messages, size), handle=self.handle)

    def commit(self, partition, offset):
        self.client.request("COMMIT", struct.pack("<HQ", partition, offset), handle=self.handle)

    def unsubscribe(self):
        self.client.request("UNSUBSCRIBE", handle=self.handle)
