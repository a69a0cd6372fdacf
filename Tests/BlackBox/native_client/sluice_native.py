"""A small client of the native protocol, written from docs/native-protocol.md alone.

Python 3.9 or newer, standard library only; the package `crc32c` makes checksums faster where it is there. It keeps one
connection, waits for each answer, and is meant to show that the page is enough, and to test a server; not to be fast.
"""

import socket
import struct
import time
from collections import deque

try:
    import crc32c as fast_crc32c
except ImportError:
    fast_crc32c = None

PREAMBLE = b"N1P\n" + struct.pack("<HH", 1, 0)
REQUEST, RESPONSE, PUSH, CREDIT, CANCEL, PING, PONG, GOAWAY = range(8)
ONE_WAY, TAIL, CHECKSUM = 0x02, 0x04, 0x08
OP = {
    "HELLO": 0x0001, "AUTH": 0x0002, "GOAWAY": 0x0003, "PING": 0x0004, "CANCEL": 0x0005, "HEALTH": 0x0006,
    "OPEN_PRODUCER": 0x0101, "PRODUCE": 0x0102, "PRODUCE_ACK": 0x0103, "CLOSE_PRODUCER": 0x0104,
    "SUBSCRIBE": 0x0105, "CREDIT": 0x0106, "DELIVER": 0x0107, "UNSUBSCRIBE": 0x0108, "DETACHED": 0x0109,
    "FETCH": 0x010A, "FIND_OFFSET": 0x010B, "CONSUMER_CHANGED": 0x010E, "TOPIC_NAMED": 0x010F,
    "COMMIT": 0x0201, "ACKNOWLEDGE": 0x0202, "RELEASE": 0x0203, "EXTEND_LEASE": 0x0204, "REJECT": 0x0205,
    "SEEK": 0x0206, "PAUSE": 0x0207, "SETTLE_RECEIPTS": 0x0208,
    "BEGIN_TRANSACTION": 0x0301, "COMMIT_TRANSACTION": 0x0302, "ROLL_BACK_TRANSACTION": 0x0303,
    "SETTLE_IN_TRANSACTION": 0x0304, "ADOPT_TRANSACTIONS": 0x0305, "TRANSACTION_CHECK": 0x0306,
    "SCAN_RETAINED": 0x0403, "CANCEL_SCHEDULED": 0x0404, "LOOK_UP": 0x0405, "BROWSE": 0x0406, "REDRIVE": 0x0407,
    "CREATE_TOPIC": 0x1001, "DELETE_TOPIC": 0x1002, "DESCRIBE_TOPIC": 0x1003, "LIST_TOPICS": 0x1004,
    "CREATE_SUBSCRIPTION": 0x1011, "DELETE_SUBSCRIPTION": 0x1012, "DESCRIBE_SUBSCRIPTION": 0x1013,
    "LIST_SUBSCRIPTIONS": 0x1014, "UPDATE_SUBSCRIPTION": 0x1015, "BIND": 0x1021, "UNBIND": 0x1022,
    "LIST_BINDINGS": 0x1023,
}
# What this client speaks in version 2.
NEWER = ("PRODUCE", "PRODUCE_ACK", "SUBSCRIBE", "DELIVER", "CREATE_TOPIC", "DESCRIBE_TOPIC", "LIST_TOPICS",
         "CREATE_SUBSCRIPTION", "DESCRIBE_SUBSCRIPTION", "LIST_SUBSCRIPTIONS")
WITH_CONNECTION = NO_OFFSET = 2**64 - 1
SHARED, EXCLUSIVE, FAILOVER, ORDERED = range(4)
# The fields of a policy: id and form; "s" is text.
SUBSCRIPTION_FIELDS = {
    "consumers": (1, "B"), "lease_us": (2, "Q"), "max_attempts": (3, "I"), "backoff": (4, "s"),
    "dead_letter_topic": (5, "s"), "selector": (6, "s"), "tags": (7, "s"), "name_filter": (8, "s"),
    "window": (9, "I"), "durable": (10, "B"), "expires_unused_us": (11, "Q"), "max_messages": (12, "Q"),
    "max_bytes": (13, "Q"), "ttl_us": (14, "Q"), "overflow": (15, "B"), "max_priority": (16, "B"),
    "takes_at_most_once": (17, "B"),
}
TOPIC_FIELDS = {"retention": (1, "B"), "max_age_us": (2, "Q"), "max_bytes": (3, "Q"), "deduplication_us": (4, "Q"),
                "max_delay_us": (5, "Q")}

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
    if fast_crc32c:
        return fast_crc32c.crc32c(bytes(data))
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


def bytes16(value):
    return struct.pack("<H", len(value)) + value


def encode_policy(fields, values):
    """Encodes a policy of the values that are given."""
    out = struct.pack("<H", len(values))
    for name, value in values.items():
        number, form = fields[name]
        if form == "s":
            data = value.encode()
        else:
            data = struct.pack("<" + form, value)
        out += struct.pack("<H", number) + bytes16(data)
    return out


def read_policy(reader, fields):
    names = {number: (name, form) for name, (number, form) in fields.items()}
    result = {}
    for _ in range(reader.take("H")):
        number = reader.take("H")
        data = reader.raw(reader.take("H"))
        if number not in names:
            continue
        name, form = names[number]
        result[name] = data.decode() if form == "s" else struct.unpack("<" + form, data)[0]
    return result


def binding(pattern, kind=0, exchange="", arguments=()):
    out = bytes([kind]) + text(exchange) + bytes16(pattern.encode()) + struct.pack("<H", len(arguments))
    for name, value in arguments:
        out += bytes16(name.encode()) + bytes([value is not None]) + bytes16((value or "").encode())
    return out


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

    def __init__(self, host="127.0.0.1", port=7400, name="python", timeout=10.0, newer=None):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.correlation = 0
        self.pushes = {}
        self.goaway = None
        self.socket.sendall(PREAMBLE)
        if self._read(8)[:4] != PREAMBLE[:4]:
            raise ProtocolError("the server does not speak the native protocol")
        hello = struct.pack("<HHQI", 1, 1, 0, MAX_FRAME) + text(name) + text("1")
        newer = NEWER if newer is None else newer
        hello += struct.pack("<H", len(newer)) + b"".join(struct.pack("<HH", OP[opcode], 2) for opcode in newer)
        self.is_newer = bool(newer)
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

    def _topic(self, reader):
        number, created = reader.take("IQ")
        name, captures = reader.text(), reader.list(reader.text)
        result = {"id": number, "created": created, "name": name, "captures": captures,
                  "partitions": reader.list(lambda: reader.take("QQ"))}
        if self.is_newer:
            result["policy"] = read_policy(reader, TOPIC_FIELDS)
        return result

    def _subscription(self, reader, is_newer=None):
        topic_id, created, attached = reader.take("IQB")
        result = {"topic_id": topic_id, "created": created, "attached": bool(attached), "name": reader.text(),
                  "topic": reader.text()}
        if not (self.is_newer if is_newer is None else is_newer):
            result["partitions"] = reader.list(lambda: reader.take("QQ"))
            return result
        result["id"], flags, result["consumers"] = reader.take("IBI")
        result["inbox"], result["paused"] = bool(flags & 1), bool(flags & 2)
        result["policy"] = read_policy(reader, SUBSCRIPTION_FIELDS)
        keys = ("acknowledged", "next", "backlog", "leased", "retrying", "oldest")
        result["lanes"] = reader.list(lambda: dict(zip(keys, reader.take("QQQQQQ"))))
        result["partitions"] = [(lane["acknowledged"], lane["next"]) for lane in result["lanes"]]
        return result

    def create_topic(self, name, partitions=1, captures=(), **policy):
        body = struct.pack("<H", partitions) + text(name) + struct.pack("<H", len(captures))
        body += b"".join(map(text, captures))
        if self.is_newer:
            body += encode_policy(TOPIC_FIELDS, policy)
        answer = self.request("CREATE_TOPIC", body)
        is_new = bool(answer.take("B"))
        return dict(self._topic(answer), is_new=is_new)

    def describe_topic(self, name, resolve=False):
        return self._topic(self.request("DESCRIBE_TOPIC", bytes([resolve]) + text(name)))

    def delete_topic(self, name):
        self.request("DELETE_TOPIC", text(name))

    def list_topics(self, limit=100, after=""):
        answer = self.request("LIST_TOPICS", struct.pack("<H", limit) + text(after))
        return answer.list(lambda: self._topic(answer)), answer.text()

    def create_subscription(self, name, topic="", start=FIRST, value=0, bindings=None, **policy):
        """Makes a subscription to a topic, or an inbox where `bindings` are given."""
        body = struct.pack("<BQ", start, value) + text(name) + text(topic)
        if self.is_newer:
            routes = [] if bindings is None else bindings
            body += bytes([bindings is not None]) + struct.pack("<H", len(routes)) + b"".join(routes)
            body += encode_policy(SUBSCRIPTION_FIELDS, policy)
        answer = self.request("CREATE_SUBSCRIPTION", body)
        is_new = bool(answer.take("B"))
        return dict(self._subscription(answer), is_new=is_new)

    def update_subscription(self, name, **policy):
        answer = self.request("UPDATE_SUBSCRIPTION", text(name) + encode_policy(SUBSCRIPTION_FIELDS, policy))
        return self._subscription(answer, is_newer=True)

    def delete_subscription(self, name):
        self.request("DELETE_SUBSCRIPTION", text(name))

    def seek(self, name, place=FIRST, value=0, partition=0):
        body = text(name) + struct.pack("<BQH", place, value, partition)
        return self._subscription(self.request("SEEK", body), is_newer=True)

    def pause(self, name, paused=True):
        return self._subscription(self.request("PAUSE", text(name) + bytes([paused])), is_newer=True)

    def bind(self, name, route):
        self.request("BIND", text(name) + route)

    def unbind(self, name, route):
        self.request("UNBIND", text(name) + route)

    def bindings(self, name):
        """(kind, exchange, pattern) of each binding."""
        answer = self.request("LIST_BINDINGS", text(name))

        def read():
            kind, exchange, pattern = answer.take("B"), answer.text(), answer.raw(answer.take("H")).decode()
            answer.list(lambda: (answer.raw(answer.take("H")), answer.take("B"), answer.raw(answer.take("H"))))
            return kind, exchange, pattern

        return answer.list(read)

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

    def consumer(self, subscription, **options):
        return Consumer(self, subscription, **options)

    def settle(self, receipts, opcode="ACKNOWLEDGE", head=b""):
        """Settles deliveries by their receipts; the status of each."""
        body = struct.pack("<H", OP[opcode]) + head + struct.pack("<H", len(receipts))
        answer = self.request("SETTLE_RECEIPTS", body + b"".join(struct.pack("<IHQQQQQ", *each) for each in receipts))
        return answer.list(lambda: answer.take("H"))

    def begin(self, owner="", check_after_us=60_000_000, checks=15):
        return self.request("BEGIN_TRANSACTION", struct.pack("<QI", check_after_us, checks) + text(owner)).take("Q")

    def settle_in(self, transaction, receipts):
        body = struct.pack("<QH", transaction, len(receipts))
        body += b"".join(struct.pack("<IHQQQQQ", *each) for each in receipts)
        answer = self.request("SETTLE_IN_TRANSACTION", body)
        return answer.list(lambda: answer.take("H"))

    def commit(self, transaction):
        self.request("COMMIT_TRANSACTION", struct.pack("<Q", transaction))

    def roll_back(self, transaction):
        self.request("ROLL_BACK_TRANSACTION", struct.pack("<Q", transaction))

    def adopt(self, owner):
        self.request("ADOPT_TRANSACTIONS", text(owner))

    def next_check(self):
        """The next question about an open transaction: its number and its owner."""
        frame = self.next_push(0)
        if frame.opcode != OP["TRANSACTION_CHECK"]:
            raise ProtocolError("a push without a handle that is no question")
        reader = Reader(frame.body)
        return reader.take("Q"), reader.text()

    def cancel_scheduled(self, scheduled):
        self.request("CANCEL_SCHEDULED", struct.pack("<QI", *scheduled))

    @staticmethod
    def _found(answer):
        _, topic = answer.take("I"), answer.text()
        partition, offset, index, sequence, attempts, size = answer.take("HQIQII")
        batch = answer.raw(size)
        records, _, _ = decode_batch(batch, 0, topic, partition, [(index, index)])
        records[0].offset, records[0].sequence, records[0].attempts = offset, sequence, attempts
        return records[0]

    def browse(self, name, lane=0, start=0, limit=100):
        """The messages that wait, and the sequence to go on with or None."""
        answer = self.request("BROWSE", text(name) + struct.pack("<HQH", lane, start, limit))
        found = answer.list(lambda: self._found(answer))
        goes_on, following = answer.take("BQ")
        return found, following if goes_on else None

    def look_up(self, value, is_key=False, topic="", start=0, end=2**64 - 1, limit=64):
        body = bytes([is_key]) + bytes16(value.encode()) + text(topic) + struct.pack("<QQH", start, end, limit)
        answer = self.request("LOOK_UP", body)
        return answer.list(lambda: self._found(answer))

    def scan_retained(self, name_filter, limit=1000, after=""):
        body = bytes16(name_filter.encode()) + struct.pack("<H", limit) + bytes16(after.encode())
        answer = self.request("SCAN_RETAINED", body)
        found = answer.list(lambda: (answer.raw(answer.take("H")).decode(), self._found(answer)))
        return found, answer.raw(answer.take("H")).decode()

    def redrive(self, topic, selector="", rate=0, limit=0):
        body = text(topic) + text(selector) + struct.pack("<IQ", rate, limit)
        return self.request("REDRIVE", body).take("Q")

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

    def send_batch(self, batch, partition=0, acknowledgement=2, transaction=None):
        """Sends without waiting."""
        head = struct.pack("<HBB", partition, acknowledgement, 0 if transaction is None else 1)
        if transaction is not None:
            head += struct.pack("<Q", transaction)
        self.client.send(REQUEST, "PRODUCE", head + batch, handle=self.handle, flags=ONE_WAY)

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
        if self.client.is_newer:
            for _, _, offset in runs:
                if offset == NO_OFFSET:
                    position, record = reader.take("QI")
                    self.scheduled = (position, record) if position else None
        return partition, runs

    def schedule(self, body, deliver_at_us, **options):
        """Sends one message for a time; its scheduled id."""
        properties = encode_properties([(5, struct.pack("<Q", deliver_at_us))])
        offset = self.produce([body], properties=properties, **options)
        if offset != NO_OFFSET:
            raise ProtocolError("a scheduled message has an offset")
        return self.scheduled

    def produce(self, bodies, partition=0, ordering_key=None, properties=b"", acknowledgement=2, transaction=None):
        """Sends one batch, waits until it is stored, and returns the offset of its first record."""
        sequence = self.sequences.get(partition, 0)
        batch = self.encode(bodies, partition, ordering_key, properties)
        self.send_batch(batch, partition, acknowledgement, transaction)
        while True:
            of, runs = self.next_ack()
            for first, count, offset in runs:
                behind = (sequence - first) & 0xFFFFFFFF
                if of == partition and behind < count:
                    self.sequences[partition] = (sequence + len(bodies)) & 0xFFFFFFFF
                    return offset if offset == NO_OFFSET else offset + behind

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


class Consumer:
    """Leases messages of a subscription. With `auto_credit` what is settled gives its credit back."""

    def __init__(self, client, subscription, messages=100, size=1 << 20, receipts=False, name=""):
        self.client = client
        body = struct.pack("<HHBQQQ", 2 | (4 if receipts else 0), ALL_PARTITIONS, NEXT, 0, messages, size)
        answer = client.request("SUBSCRIBE", body + text("") + text(subscription) + text(name))
        self.handle, topic_id, _ = answer.take("IIH")
        self.topics = {topic_id: answer.text()}
        self.active = None
        self.credit_bytes = 0

    def next_delivery(self):
        """The leased messages of the next delivery, each with `sequence`, `attempt`, `deadline` and `receipt`."""
        while True:
            frame = self.client.next_push(self.handle)
            reader = Reader(frame.body)
            if frame.opcode == OP["DETACHED"]:
                raise frame.status(reader)
            if frame.opcode == OP["TOPIC_NAMED"]:
                number = reader.take("I")
                self.topics[number] = reader.text()
            elif frame.opcode == OP["CONSUMER_CHANGED"]:
                self.active = bool(reader.take("B"))
            else:
                return self._leased(frame, reader)

    def _leased(self, frame, reader):
        partition, flags, count = reader.take("HHI")
        if flags != 1:
            raise ProtocolError("a delivery to a consumer without a lease")
        lease = reader.take("IIHHIQQIIQQQ")
        subscription, topic, lane, _, attempt, first, deadline, size, _, generation, last, signature = lease
        ranges = [reader.take("II") for _ in range(count)]
        records, _, _ = decode_batch(frame.body, reader.at, self.topics[topic], partition, ranges)
        first_offset = records[0].offset
        for record in records:
            record.sequence = first + (record.offset - first_offset)
            record.lane, record.attempt, record.deadline = lane, attempt, deadline
            record.receipt = (subscription, lane, record.sequence, generation, first, last, signature)
        self.credit_bytes += size
        return records

    def take(self, count):
        """The next `count` messages; deliveries must come to just so many."""
        result = []
        while len(result) < count:
            result += self.next_delivery()
        assert len(result) == count, f"{len(result)} messages came, not {count}"
        return result

    def nothing_within(self, seconds):
        """Whether no delivery comes."""
        before = self.client.socket.gettimeout()
        self.client.socket.settimeout(seconds)
        try:
            self.next_delivery()
            return False
        except TimeoutError:
            return True
        finally:
            self.client.socket.settimeout(before)

    def _settle(self, opcode, records, head=b"", wait=True):
        ranges = struct.pack("<H", len(records))
        ranges += b"".join(struct.pack("<HQQ", each.lane, each.sequence, each.sequence) for each in records)
        if wait:
            self.client.request(opcode, head + ranges, handle=self.handle)
        else:
            self.client.send(REQUEST, opcode, head + ranges, handle=self.handle, flags=ONE_WAY)
        if opcode != "EXTEND_LEASE":
            self.credit(len(records))

    def accept(self, records, wait=True):
        self._settle("ACKNOWLEDGE", records, wait=wait)

    def release(self, records, delay_us=None, counts=True, wait=True):
        flags = (0 if delay_us is None else 1) | (0 if counts else 2)
        self._settle("RELEASE", records, struct.pack("<BQ", flags, delay_us or 0), wait)

    def reject(self, records, reason, wait=True):
        self._settle("REJECT", records, text(reason), wait)

    def extend(self, records, by_us, wait=True):
        self._settle("EXTEND_LEASE", records, struct.pack("<Q", by_us), wait)

    def credit(self, messages, size=None):
        if size is None:
            size, self.credit_bytes = self.credit_bytes, 0
        self.client.send(CREDIT, "CREDIT", struct.pack("<QQ", messages, size), handle=self.handle)

    def close(self):
        self.client.request("UNSUBSCRIBE", handle=self.handle)
