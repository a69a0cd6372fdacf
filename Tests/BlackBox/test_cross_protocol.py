"""One message, stored once, read by every protocol; whoever published it."""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
import sluice_native
from test_mqtt import Client, subscriber

NAME = "factory/line1/temp"


def http(server, method, path, body=None, headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", data=body, method=method)
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def publish(server, by, body):
    if by == "mqtt":
        assert server.mosquitto_pub("-t", NAME, "-m", body, "-q", "1").returncode == 0
    elif by == "native":
        server.sluice("produce", NAME, "-m", body)
    elif by == "python":
        with sluice_native.Client(port=server.native_port) as client:
            client.producer(NAME).produce([body.encode()])
    else:
        path = "/v1/messages?name=" + urllib.parse.quote(NAME, safe="")
        status, _ = http(server, "POST", path, body.encode(), {"content-type": "text/plain"})
        assert status == 201


def test_every_protocol_reads_what_every_protocol_publishes(server):
    process = subscriber(server, "-t", "factory/#", "-C", "4", "-F", "got %t %p")
    expected = []
    for by in ["mqtt", "native", "python", "http"]:
        publish(server, by, "by " + by)
        expected.append("by " + by)
    received = [line.strip() for line in process.stdout if line.startswith("got ")]
    process.wait(timeout=5)
    assert received == [f"got {NAME} {body}" for body in expected]

    consumed = server.sluice("consume", NAME, "--from", "first", "--count", "4", "--format", "%n=%b\\n").stdout
    assert consumed.splitlines() == [f"{NAME}={body}" for body in expected]

    status, answer = http(server, "GET", "/v1/messages?from=first&name=" + urllib.parse.quote("factory/+/temp", safe=""))
    assert status == 200
    assert [message["body"] for message in answer["messages"]] == expected
    assert [message["name"] for message in answer["messages"]] == [NAME] * 4

    # Stored once: four messages, four offsets, whatever the number of readers.
    with sluice_native.Client(port=server.native_port) as client:
        records, first, following = client.fetch("default", 0)
    assert (first, following) == (0, 4)
    assert [record.body.decode() for record in records] == expected


def test_a_topic_holds_its_subtree_and_what_it_captures(server):
    status, _ = http(server, "PUT", "/v1/topics/sensors", b'{"partitions":2,"captures":["factory/#"]}')
    assert status == 201
    publish(server, "mqtt", "captured")
    assert server.mosquitto_pub("-t", "sensors/roof", "-m", "below", "-q", "1").returncode == 0
    assert server.mosquitto_pub("-t", "elsewhere", "-m", "not here", "-q", "1").returncode == 0
    lines = server.sluice("consume", "sensors", "--from", "first", "--count", "2", "--format", "%n=%b\\n").stdout
    assert sorted(lines.splitlines()) == [f"{NAME}=captured", "sensors/roof=below"]
    status, topics = http(server, "GET", "/v1/topics")
    # Besides those that AMQP always has.
    names = [topic["name"] for topic in topics["topics"] if not topic["name"].startswith(("$", "amq."))]
    assert names == ["default", "sensors"]


def test_properties_cross_from_http_to_mqtt_and_back(server):
    client = Client(server, "5")
    client.subscribe("props/#", qos=1)
    headers = {"content-type": "text/csv", "sluice-header-colour": "red", "sluice-ttl": "60s"}
    status, _ = http(server, "POST", "/v1/messages?name=props%2Fx", b"a,b", headers)
    assert status == 201
    client.wait(lambda: client.messages)
    properties = client.messages[0].properties
    assert properties.ContentType == "text/csv"
    assert ("colour", "red") in properties.UserProperty
    assert 55 <= properties.MessageExpiryInterval <= 60
    client.close()


def test_a_subscription_goes_on_from_its_acknowledged_position(make_server):
    server = make_server().start()
    server.sluice("topic", "create", "orders")
    server.sluice("produce", "orders/eu", input="".join(f"order {n}\n" for n in range(6)))
    arguments = ["consume", "orders", "--subscription", "billing", "--from", "first", "--format", "%b\\n"]
    first = server.sluice(*arguments, "--count", "4").stdout.splitlines()
    assert first == [f"order {n}" for n in range(4)]
    server.kill()
    server.start()
    second = server.sluice(*arguments, "--count", "2").stdout.splitlines()
    assert second == ["order 4", "order 5"]
    server.stop()


def test_a_long_poll_is_woken_by_a_publish(server):
    import threading

    answers = []
    path = "/v1/messages?wait=15s&name=" + urllib.parse.quote(NAME, safe="")
    waiting = threading.Thread(target=lambda: answers.append(http(server, "GET", path)))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    publish(server, "mqtt", "wake up")
    waiting.join(10)
    assert answers[0][1]["messages"][0]["body"] == "wake up"


@pytest.mark.parametrize(
    "method, path, body, status, code",
    [
        ("GET", "/v1/topics/nothing", None, 404, "topic_not_found"),
        ("PUT", "/v1/topics/bad", b"{", 400, "malformed"),
        ("PUT", "/v1/topics/bad", b'{"partitions":0}', 400, "invalid_argument"),
        ("PUT", "/v1/topics/bad", b'{"partitoins":1}', 400, None),
        ("POST", "/v1/messages?name=a%2F%2B", b"x", 400, "invalid_name"),
        ("GET", "/v1/nothing", None, 404, None),
    ],
)
def test_http_says_what_is_wrong(server, method, path, body, status, code):
    found, problem = http(server, method, path, body, {"content-type": "application/json"} if method == "PUT" else {})
    assert found == status, problem
    assert problem["status"] == status
    if code:
        assert problem["code"] == code


def test_health(server):
    assert http(server, "GET", "/livez")[0] == 200
    assert http(server, "GET", "/readyz")[0] == 200


def test_console_failures_have_classes(server):
    assert server.sluice("topic", "show", "nothing", check=False).returncode == 4
    assert server.sluice("produce", "a/+", "-m", "x", check=False).returncode != 0
    assert server.sluice("nonsense", check=False).returncode == 64
    server.stop()
    assert server.sluice("topic", "list", check=False).returncode == 7
