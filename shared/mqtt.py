"""One client's MQTT connection, behind a queue of events; the only importer of paho.

Laws:
- the network thread only moves bytes: everything it sees becomes an event in a queue, and the one
  thread that owns the connection takes them from there. (A callback that raises kills paho's thread
  while `is_connected()` stays true, so no rule of ours ever runs inside one.)
- nothing that a broker sends ends the network thread: what is no MQTT ends the connection;
- a message of QoS 1 is acknowledged by `acknowledge`, after its owner has stored it, never before,
  and on the connection that brought it or not at all;
- an MQTT acknowledgement is no receipt: brokers acknowledge what they later drop;
- no retries of messages here: what must arrive is kept by its owner until a receipt says so. Only
  the TCP connection itself is re-established, with back-off.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from shared.errors import RetryLaterError, UsageError
from shared.mqtt_events import Connected, Disconnected, Event, EventQueue, Received

logger = logging.getLogger(__name__)

_RUBBISH_PAUSE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Will:
    """What the broker says for us when we are gone without a word."""

    topic: str
    payload: bytes
    qos: int = 1
    retained: bool = True


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the broker is and who we are; `password` is a secret and is never shown.

    With `ca_file` the connection is TLS; `certificate` names the files of our certificate and key,
    for a broker that asks for one.
    """

    host: str
    port: int
    user: str
    password: str
    ca_file: str | None = None
    certificate: tuple[str, str] | None = None
    keepalive_s: int = 20

    def __repr__(self) -> str:
        """Return the address without its secret."""
        return f"Address({self.user}@{self.host}:{self.port})"


def tls_context(ca_file: str, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    """Return what TLS is spoken with: whom we believe, and our own certificate and key if asked.

    Raises:
        UsageError: a file cannot be read, or holds no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = ca_file
    try:
        context.load_verify_locations(cafile=ca_file)
        if certificate is not None:
            named = " and ".join(certificate)
            context.load_cert_chain(*certificate)
    except ssl.SSLError:
        raise UsageError(f"{named}: no certificate or key, as PEM, that TLS can use") from None
    except OSError as error:
        raise UsageError(f"cannot read {named}: {error.strerror}") from None
    return context


class _Client(paho.Client):
    """paho's client, whose thread outlives what a broker sends."""

    failed: Callable[[Exception], bool]

    def loop_forever(
        self, timeout: float = 1.0, retry_first_connection: bool = False
    ) -> MQTTErrorCode:
        """Run as paho does; where that raises, connect anew, for as long as `failed` says so."""
        while True:
            try:
                return super().loop_forever(timeout, retry_first_connection)
            except Exception as error:  # noqa: BLE001 - the port: paho's parsers raise what they like
                if not self.failed(error):
                    return MQTTErrorCode.MQTT_ERR_UNKNOWN


class Connection:
    """One client's connection. Owned by one thread, which calls `next_event` in a loop."""

    def __init__(
        self, address: Address, *, will: Callable[[], Will] | None = None, client_id: str = ""
    ) -> None:
        """Prepare a connection; `will` is asked anew before every attempt to connect.

        The client id is the user name, as every broker of ours demands; a server that runs several
        clients under one user passes its own `client_id`.

        Raises:
            UsageError: a file of TLS cannot be used.
        """
        self._address = address
        self._will = will
        self._events = EventQueue()
        self._lock = threading.Lock()
        self._number = 0
        self._asked: dict[int, str] = {}
        self._refused: list[str] = []
        self._is_refused = False
        self._stopping = threading.Event()
        self._client = self._build(client_id or address.user)
        self.connected = False

    @property
    def dropped(self) -> int:
        """How many messages there was no room for."""
        return self._events.dropped

    def start(self) -> None:
        """Begin to connect in the background; `Connected` follows when it succeeded."""
        self._set_will()
        self._aim()
        self._client.loop_start()

    def stop(self, *, last_words: Will | None = None) -> None:
        """Say `last_words` if connected, disconnect cleanly and end the network thread."""
        if last_words is not None and self.connected:
            info = self._client.publish(
                last_words.topic, last_words.payload, last_words.qos, last_words.retained
            )
            try:
                info.wait_for_publish(timeout=2.0)
            except (RuntimeError, ValueError):
                logger.info("last words not sent topic=%s", last_words.topic)
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()
        self.connected = False

    def next_event(self, timeout_s: float) -> Event | None:
        """Return the next event, or None where none came within `timeout_s`."""
        event = self._events.get(timeout_s)
        if isinstance(event, Connected):
            self.connected = True
        elif isinstance(event, Disconnected):
            self.connected = False
        return event

    def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        """Ask for messages on `topic_filter`; to be repeated on every `Connected`."""
        with self._lock:  # The answer may be there before `subscribe` has returned.
            _, mid = self._client.subscribe(topic_filter, qos)
            if mid is not None:
                self._asked[mid] = topic_filter

    def refused_filters(self) -> tuple[str, ...]:
        """Return the filters that the broker refused since the last call. Some never say so."""
        with self._lock:
            refused, self._refused = tuple(self._refused), []
        return refused

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for no more messages on `topic_filter`."""
        self._client.unsubscribe(topic_filter)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> None:
        """Hand a message to the network thread.

        Raises:
            RetryLaterError: there is no connection; nothing was queued.
        """
        if not self.connected:
            raise RetryLaterError(f"not connected to {self._address.host}:{self._address.port}")
        info = self._client.publish(topic, payload, qos, retained)
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise RetryLaterError(f"cannot publish on {topic}: {paho.error_string(info.rc)}")

    def acknowledge(self, message: Received) -> None:
        """Tell the broker that `message` is in our keeping."""
        if message.qos and message.connection == self._number:
            self._client.ack(message.mid, message.qos)

    def _build(self, client_id: str) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=paho.MQTTv311,
            manual_ack=True,
        )
        client.username_pw_set(self._address.user, self._address.password)
        if self._address.ca_file:
            client.tls_set_context(tls_context(self._address.ca_file, self._address.certificate))
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.max_inflight_messages_set(20)
        client.max_queued_messages_set(1000)
        client.failed = self._failed
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_pre_connect = self._on_pre_connect
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = _send_at_once
        return client

    def _set_will(self) -> None:
        if self._will is not None:
            will = self._will()
            self._client.will_set(will.topic, will.payload, will.qos, will.retained)

    def _aim(self) -> None:
        self._client.connect_async(
            self._address.host, self._address.port, keepalive=self._address.keepalive_s
        )

    def _failed(self, error: Exception) -> bool:
        """Give up a connection on which the network thread failed; tell whether to make another."""
        logger.warning("connection_given_up error=%r", error)
        self._client.drop_out_messages()
        self._events.put(Disconnected(reason="the broker sent what is no MQTT"))
        if self._stopping.wait(_RUBBISH_PAUSE_S):
            return False
        self._aim()
        return True

    def _on_pre_connect(self, _client: paho.Client, _data: Any) -> None:
        self._set_will()

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._is_refused = reason.is_failure
        if self._is_refused:
            self._events.put(Disconnected(reason=f"refused: {reason}"))
            return
        self._number += 1
        with self._lock:
            self._asked.clear()
            self._refused.clear()
        self._events.put(Connected())

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._events.put(Disconnected(reason="no route to the broker"))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        # What is still queued would go out on the next connection, as a second copy of what its
        # owner sends again by then.
        self._client.drop_out_messages()
        if not self._is_refused:  # Else it was told already, with a better reason.
            self._events.put(Disconnected(reason=str(reason)))

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        with self._lock:
            topic_filter = self._asked.pop(mid, "")
            if topic_filter and any(code.is_failure for code in codes):
                self._refused.append(topic_filter)
                logger.warning("subscription_refused filter=%s", topic_filter)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._events.put(
            Received(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retained=message.retain,
                mid=message.mid,
                connection=self._number,
            )
        )


def _send_at_once(_client: paho.Client, _userdata: Any, sock: Any) -> None:
    """Have small packets sent as they are said, not held back for the answer to the last one."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
