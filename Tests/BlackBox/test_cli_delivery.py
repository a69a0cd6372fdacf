"""Leases, inboxes, schedules and transactions from the command line, against the real server."""

import json
import subprocess
import time


def lines(result):
    return result.stdout.splitlines()


def test_consumers_share_a_subscription_and_what_is_printed_is_done(server):
    server.sluice("topic", "create", "orders")
    server.sluice("produce", "orders/eu", *[part for number in range(4) for part in ("-m", str(number))])
    arguments = ["consume", "orders", "--subscription", "billing", "--from", "first", "--format", "%b\\n"]
    assert lines(server.sluice(*arguments, "--count", "2")) == ["0", "1"]
    assert lines(server.sluice("consume", "--subscription", "billing", "--no-follow", "--format", "%b\\n")) == ["2", "3"]
    shown = json.loads(server.sluice("subscription", "show", "billing", "-o", "json").stdout)
    assert (shown["lag"], shown["leased"], shown["topic"]) == (0, 0, "orders")


def test_messages_that_are_released_too_often_are_dead_and_can_be_seen(server):
    server.sluice("topic", "create", "jobs")
    server.sluice("produce", "jobs", "-m", "bad")
    policy = ["--max-attempts", "2", "--backoff", "10ms", "--dead-letter", "jobs-dead", "--lease", "1m"]
    server.sluice("subscription", "create", "worker", "jobs", "--from", "first", *policy)
    for _ in range(2):
        result = server.sluice("consume", "--subscription", "worker", "--count", "1", "--ack", "release")
        assert "bad" in result.stdout
    dead = server.sluice("consume", "jobs-dead", "--from", "first", "--count", "1", "-o", "json")
    assert json.loads(dead.stdout)["body"] == "bad"
    assert json.loads(server.sluice("sub", "show", "worker", "-o", "json").stdout)["policy"]["max_attempts"] == 2


def test_a_rejected_message_goes_with_its_reason(server):
    server.sluice("topic", "create", "jobs")
    server.sluice("produce", "jobs", "-m", "bad")
    server.sluice("consume", "jobs", "--subscription", "worker", "--from", "first", "--dead-letter", "gone", "--count", "1",
                  "--ack", "reject", "--reason", "no such customer")
    dead = server.sluice("consume", "gone", "--from", "first", "--count", "1", "-o", "json")
    assert "no such customer" in dead.stdout


def test_an_inbox_with_bindings(server):
    server.sluice("subscription", "create", "desk", "--inbox", "--bind", "factory/+/alarm", "--max-priority", "9")
    server.sluice("produce", "factory/1/alarm", "-m", "low")
    server.sluice("produce", "factory/2/alarm", "-m", "high", "--priority", "7")
    server.sluice("produce", "factory/2/temp", "-m", "21")
    found = server.sluice("consume", "--subscription", "desk", "--count", "2")
    assert lines(found) == ["factory/2/alarm\thigh", "factory/1/alarm\tlow"]
    server.sluice("subscription", "bind", "desk", "office/#")
    assert "office/#" in server.sluice("subscription", "bindings", "desk").stdout
    server.sluice("subscription", "unbind", "desk", "office/#")
    assert lines(server.sluice("sub", "bindings", "desk")) == ["filter\t\tfactory/+/alarm\t"]


def test_seek_pause_browse_and_update(server):
    server.sluice("topic", "create", "jobs")
    server.sluice("produce", "jobs", "-m", "a", "-m", "b", "-m", "c")
    server.sluice("sub", "create", "worker", "jobs", "--from", "first")
    browsed = json.loads(server.sluice("sub", "browse", "worker", "-o", "json").stdout)
    assert [(entry["sequence"], entry["body"]) for entry in browsed] == [(0, "a"), (1, "b"), (2, "c")]
    server.sluice("sub", "seek", "worker", "--to", "2", "--partition", "0")
    assert json.loads(server.sluice("sub", "show", "worker", "-o", "json").stdout)["lag"] == 1
    assert json.loads(server.sluice("sub", "pause", "worker", "-o", "json").stdout)["paused"] is True
    assert server.sluice("consume", "--subscription", "worker", "--no-follow").stdout == ""
    server.sluice("sub", "resume", "worker")
    assert lines(server.sluice("consume", "--subscription", "worker", "--no-follow")) == ["jobs\tc"]
    updated = server.sluice("sub", "update", "worker", "--lease", "1m", "--mode", "ordered", "-o", "json")
    assert json.loads(updated.stdout)["lease"] == "1m"
    again = server.sluice("sub", "update", "worker", "--tags", "x", "-o", "json")
    assert (json.loads(again.stdout)["mode"], json.loads(again.stdout)["tags"]) == ("ordered", "x")


def test_a_scheduled_message_comes_later_and_can_be_withdrawn(server):
    server.sluice("topic", "create", "later")
    sent = server.sluice("produce", "later", "-m", "never", "--deliver-in", "1s", "-o", "json")
    scheduled = json.loads(sent.stdout)["scheduled_id"]
    server.sluice("produce", "later", "-m", "soon", "--deliver-in", "500ms")
    server.sluice("schedule", "cancel", scheduled)
    assert server.sluice("schedule", "cancel", scheduled, check=False).returncode == 4
    assert server.sluice("schedule", "cancel", "nonsense", check=False).returncode == 64
    begin = time.monotonic()
    got = server.sluice("consume", "later", "--from", "first", "--count", "1", "--format", "%b")
    assert got.stdout == "soon" and time.monotonic() - begin < 2


def test_a_transaction_is_all_or_nothing(server):
    server.sluice("topic", "create", "ledger")
    server.sluice("produce", "ledger", "--transaction", input="1\n2\n3\n")
    assert lines(server.sluice("consume", "ledger", "--no-follow", "--format", "%b\\n")) == ["1", "2", "3"]
    refused = server.sluice("produce", "ledger/#", "--transaction", "-m", "x", check=False)
    assert refused.returncode == 1 and "nothing is sent" in refused.stderr


def test_a_killed_consumer_loses_nothing(server):
    server.sluice("topic", "create", "jobs")
    server.sluice("produce", "jobs", "-m", "a", "-m", "b")
    server.sluice("sub", "create", "worker", "jobs", "--from", "first", "--lease", "0")
    environment = {"SLUICE_SERVER": f"127.0.0.1:{server.native_port}"}
    from conftest import BINARY
    consumer = subprocess.Popen([BINARY, "consume", "--subscription", "worker", "--ack", "none"],
                                stdout=subprocess.PIPE, text=True, env=environment)
    assert consumer.stdout.readline() == "jobs\ta\n"
    consumer.kill()
    consumer.wait()
    assert lines(server.sluice("consume", "--subscription", "worker", "--no-follow")) == ["jobs\ta", "jobs\tb"]


def test_a_topic_has_a_policy(server):
    server.sluice("topic", "create", "metrics", "--max-age", "7d", "--max-bytes", "1GiB", "--retention", "limits")
    shown = json.loads(server.sluice("topic", "show", "metrics", "-o", "json").stdout)
    assert (shown["retention"], shown["max_age"], shown["max_bytes"]) == ("limits", "7d", 1 << 30)
    other = server.sluice("topic", "create", "metrics", "--max-age", "8d", check=False)
    assert other.returncode == 6


def test_what_makes_no_sense_is_refused_with_a_hint(server):
    for arguments, why in (
        (["consume", "a", "--lease", "10s"], "a --subscription's"),
        (["consume", "--subscription", "nobody"], "no such subscription"),
        (["consume", "a", "--subscription", "s", "--bind", "x"], "--bind is for an --inbox"),
        (["consume", "a", "--subscription", "s", "--filter", "region ="], "at column 9"),
        (["consume", "a", "--subscription", "s", "--backoff", "soon"], "back-off"),
        (["sub", "create", "s"], "a topic is missing"),
        (["sub", "seek", "s", "--to", "next"], "no subscription"),
        (["produce", "a", "-m", "x", "--deliver-in", "1s", "--deliver-at", "2027-01-01T00:00:00Z"], "either"),
        (["lookup"], "either --id or --key"),
    ):
        result = server.sluice(*arguments, check=False)
        assert result.returncode != 0 and why in result.stderr, (arguments, result.stderr)
