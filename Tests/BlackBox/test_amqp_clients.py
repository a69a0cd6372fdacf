"""Applications written for RabbitMQ against a real server: aio-pika, Celery, amqp-tools."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import aio_pika
import pika
import pytest


def url(server):
    return f"amqp://guest:guest@127.0.0.1:{server.amqp_port}/"


def test_pika_asynchronously(server):
    """A publisher with confirms and a consumer on one connection of pika's asynchronous kind."""
    seen = []
    confirmed = []

    def on_open(connection):
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel):
        channel.queue_declare("q", durable=True, callback=lambda _: on_declared(channel))

    def on_declared(channel):
        channel.confirm_delivery(lambda frame: confirmed.append(frame.method.delivery_tag), lambda _: on_ready(channel))

    def on_ready(channel):
        channel.basic_qos(prefetch_count=10)
        channel.basic_consume("q", on_message)
        for number in range(100):
            channel.basic_publish("", "q", str(number).encode(), pika.BasicProperties(delivery_mode=2))

    def on_message(channel, method, _, body):
        seen.append(int(body))
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 100:
            connection.close()

    connection = pika.SelectConnection(
        pika.URLParameters(url(server)),
        on_open_callback=on_open,
        on_open_error_callback=lambda *_: connection.ioloop.stop(),
        on_close_callback=lambda *_: connection.ioloop.stop(),
    )
    watchdog = threading.Timer(20, lambda: connection.ioloop.add_callback_threadsafe(connection.ioloop.stop))
    watchdog.start()
    connection.ioloop.start()
    watchdog.cancel()
    assert seen == list(range(100))
    assert confirmed


def test_aio_pika_with_remote_calls(server):
    """Publishing with confirms, robust reconnects off, and remote calls over exclusive reply queues."""

    async def run():
        connection = await aio_pika.connect(url(server))
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=5)
            exchange = await channel.declare_exchange("jobs", aio_pika.ExchangeType.TOPIC)
            requests = await channel.declare_queue("requests", auto_delete=True)
            await requests.bind(exchange, "double.#")

            async def serve(message):
                async with message.process():
                    await channel.default_exchange.publish(
                        aio_pika.Message(str(int(message.body) * 2).encode(), correlation_id=message.correlation_id),
                        routing_key=message.reply_to,
                    )

            await requests.consume(serve)
            replies = await channel.declare_queue(exclusive=True)
            waiting = {}

            async def on_reply(message):
                waiting.pop(message.correlation_id).set_result(int(message.body))

            await replies.consume(on_reply, no_ack=True)
            futures = []
            for number in range(50):
                future = asyncio.get_running_loop().create_future()
                waiting[str(number)] = future
                futures.append(future)
                await exchange.publish(
                    aio_pika.Message(str(number).encode(), correlation_id=str(number), reply_to=replies.name),
                    routing_key="double.it",
                )
            return await asyncio.wait_for(asyncio.gather(*futures), 20)

    assert asyncio.run(run()) == [number * 2 for number in range(50)]


def test_direct_reply_to(server):
    """Remote calls without a reply queue (amq.rabbitmq.reply-to)."""
    connection = pika.BlockingConnection(pika.URLParameters(url(server)))
    worker = connection.channel()
    worker.queue_declare("rpc", auto_delete=True)

    def serve(channel, method, properties, body):
        channel.basic_publish(
            "", properties.reply_to, body.upper(), pika.BasicProperties(correlation_id=properties.correlation_id)
        )
        channel.basic_ack(method.delivery_tag)

    worker.basic_consume("rpc", serve)
    caller = connection.channel()
    answers = []
    caller.basic_consume(
        "amq.rabbitmq.reply-to", lambda _, __, properties, body: answers.append((properties.correlation_id, body)), True
    )
    for number in range(20):
        caller.basic_publish(
            "",
            "rpc",
            f"call {number}".encode(),
            pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=str(number)),
        )
    deadline = time.monotonic() + 10
    while len(answers) < 20 and time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.2)
    assert answers == [(str(number), f"CALL {number}".encode()) for number in range(20)]
    connection.close()


CELERY_APPLICATION = """
    import os
    from celery import Celery

    app = Celery("shop", broker=os.environ["BROKER"], backend="cache+memory://")
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=2,
        broker_connection_retry_on_startup=True,
        task_ignore_result=True,
    )
    LOG = os.environ["LOG"]

    def note(text):
        with open(LOG, "a") as log:
            log.write(text + "\\n")

    @app.task
    def add(left, right):
        note(f"add {left + right}")
        return left + right

    @app.task(bind=True, max_retries=5)
    def flaky(self):
        note(f"try {self.request.retries}")
        if self.request.retries < 2:
            raise self.retry(countdown=0.2)
        note("done")

    @app.task
    def total(numbers):
        note(f"total {sum(numbers)}")
"""


def test_a_celery_application(server, tmp_path):
    """A worker with late acknowledgements: many tasks, retries, and a task with a countdown."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(CELERY_APPLICATION))
    log = tmp_path / "tasks.log"
    log.touch()
    environment = dict(os.environ, BROKER=url(server), LOG=str(log), PYTHONPATH=str(tmp_path))
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-P", "threads", "-l", "INFO"],
        env=environment,
        cwd=tmp_path,
        stdout=open(tmp_path / "worker.log", "wb"),
        stderr=subprocess.STDOUT,
    )
    caller = """
        import shop
        for number in range(50):
            shop.add.delay(number, number)
        shop.flaky.delay()
        shop.add.apply_async((1000, 1), countdown=1)
    """
    try:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(caller)], env=environment, cwd=tmp_path, timeout=60, check=True
        )
        wanted = {f"add {2 * number}" for number in range(50)} | {"try 0", "try 1", "try 2", "done", "add 1001"}
        deadline = time.monotonic() + 45
        while not wanted <= set(log.read_text().splitlines()) and time.monotonic() < deadline:
            assert worker.poll() is None, (tmp_path / "worker.log").read_text()[-3000:]
            time.sleep(0.2)
        missing = wanted - set(log.read_text().splitlines())
        assert not missing, f"missing {missing}: " + (tmp_path / "worker.log").read_text()[-3000:]
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(timeout=20)
        except subprocess.TimeoutExpired:
            worker.kill()


def test_a_celery_chord(server, tmp_path):
    """A chord: results come over the rpc-like backend of files, the body runs when all are there."""
    (tmp_path / "results").mkdir()
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(CELERY_APPLICATION)
        .replace('backend="cache+memory://"', f'backend="file://{tmp_path}/results"')
        .replace("task_ignore_result=True", "task_ignore_result=False")
    )
    log = tmp_path / "tasks.log"
    log.touch()
    environment = dict(os.environ, BROKER=url(server), LOG=str(log), PYTHONPATH=str(tmp_path))
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-P", "threads", "-l", "INFO"],
        env=environment,
        cwd=tmp_path,
        stdout=open(tmp_path / "worker.log", "wb"),
        stderr=subprocess.STDOUT,
    )
    caller = """
        import celery, shop
        celery.chord([shop.add.s(number, number) for number in range(10)])(shop.total.s())
    """
    try:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(caller)], env=environment, cwd=tmp_path, timeout=60, check=True
        )
        deadline = time.monotonic() + 45
        while "total 90" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "total 90" in log.read_text(), (tmp_path / "worker.log").read_text()[-3000:]
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(timeout=20)
        except subprocess.TimeoutExpired:
            worker.kill()


@pytest.mark.skipif(shutil.which("amqp-publish") is None, reason="amqp-tools is not installed")
def test_amqp_tools(server):
    """The command line of librabbitmq: declare, publish, get, consume, delete."""

    def run(tool, *arguments, **options):
        return subprocess.run(
            [f"amqp-{tool}", "-u", url(server).rstrip("/"), *arguments], capture_output=True, timeout=20, **options
        )

    assert run("declare-queue", "-q", "q", "-d").stdout.strip() == b"q"
    assert run("publish", "-r", "q", "-p", "-b", "hello").returncode == 0
    assert run("publish", "-r", "q", "-l", input=b"one\ntwo\n").returncode == 0
    assert run("get", "-q", "q").stdout == b"hello"
    assert run("consume", "-q", "q", "-c", "2", "cat").stdout == b"one\ntwo\n"
    assert run("delete-queue", "-q", "q").stdout.strip() == b"0"
