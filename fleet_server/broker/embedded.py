"""The embedded broker: amqtt 0.12 with its doors closed.

Laws:
- a connection is judged before it can touch anything of another's;
- every session is clean: what must survive is kept by its owner, not by a broker;
- a client gets what it subscribed to and may receive, and nothing else;
- a slow reader costs a bounded amount of memory; what is dropped for it is counted and logged;
- a user who is removed, or whose secret changed, is cut off within `WATCH_S`.

What amqtt 0.12.1 does by itself, each shown by a test, and why its methods are overridden here:

1. it deletes, takes over or rewrites the session under a client id *before* it authenticates, so
   anyone who can connect cuts off any car (`_initialize_client_session`);
2. a second clean connection of the same client leaves the first one running (same method);
3. last wills are never checked (same method, through `Access`);
4. each new client is sent the retained messages that match *anybody's* subscriptions
   (`_publish_retained_messages_for_subscription`), and its own commands wait meanwhile;
5. a filter that suspends while subscriptions change ends the delivery of that message to all that
   follow (`_topic_filtering` never suspends here);
6. no limit holds for sizes, silence or slow readers (`streams`, `_Handler`);
7. a delivery that is not acknowledged within 5 s is forgotten, with a traceback in the log
   (`_Handler.mqtt_publish` logs one line; batches are sent again until their receipt comes).
"""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket

from fleet_server.broker.access import Access, Knock, Publish
from fleet_server.broker.streams import (
    FIRST_PACKET_S,
    PACKET_LIMIT_BYTES,
    BoundedReader,
    BoundedWriter,
)

logger = logging.getLogger(__name__)

WATCH_S = 1.0
"""How often the connected are compared with the users file."""

PENDING_LIMIT_BYTES = 32 * 1024 * 1024
"""What may wait for one slow reader: several times the largest message, all pieces of a model."""

_CONNECTIONS = 1000
_PER_MESSAGE_BYTES = 1024
_NO_KEEPALIVE_S = 3600.0
_KEEPALIVE_SLACK = 1.5  # MQTT 3.1.1, 3.1.2.10

_MALFORMED = (AMQTTError, MQTTError, CodecError, NoDataError, ValueError, struct.error, OSError)
"""What amqtt's parsers raise on bytes that are no CONNECT."""


class _Handler(BrokerProtocolHandler):  # type: ignore[misc] # amqtt ships no types
    """One client's protocol, with its publishes judged and its backlog bounded."""

    access: "EmbeddedBroker"
    _pending_bytes = 0
    dropped = 0

    async def handle_publish(self, publish_packet: Any) -> None:
        """Pass on what is allowed; acknowledge and drop the rest, as MQTT 3.1.1 asks (3.3.5)."""
        user = str(self.session.username)
        publish = Publish(
            topic=str(publish_packet.topic_name),
            size_bytes=len(publish_packet.data or b""),
            retained=publish_packet.retain_flag,
            qos=publish_packet.qos,
        )
        refusal = self.access.rules.refuse_publish(user, publish)
        if refusal is None:
            await super().handle_publish(publish_packet)
            return
        logger.warning("publish refused user=%s topic=%.200r: %s", user, publish.topic, refusal)
        if publish.qos > 1:
            await self.handle_connection_closed()
        elif publish.qos == 1:
            await self._send_packet(PubackPacket.build(publish_packet.packet_id))

    async def mqtt_publish(
        self,
        topic: str,
        data: bytes,
        qos: int | None,
        retain: bool,
        ack_timeout: int | None = None,
    ) -> Any:
        """Deliver one message, or drop it where too much already waits for this reader."""
        cost = len(data) + _PER_MESSAGE_BYTES
        if self._pending_bytes + cost > PENDING_LIMIT_BYTES:
            self.dropped += 1
            if self.dropped.bit_count() == 1:
                logger.warning("reader too slow client=%s dropped=%d", self._name, self.dropped)
            return None
        self._pending_bytes += cost
        try:
            return await super().mqtt_publish(topic, data, qos, retain, ack_timeout)
        except TimeoutError:
            logger.info("not acknowledged within 5 s client=%s topic=%s", self._name, topic)
            return None
        finally:
            self._pending_bytes -= cost

    @property
    def _name(self) -> str:
        return str(self.session.client_id) if self.session else "?"


class EmbeddedBroker(Broker):  # type: ignore[misc] # amqtt ships no types
    """An MQTT 3.1.1 broker for one machine, over a socket that is already bound."""

    def __init__(
        self,
        listener: socket.socket,
        changed_rules: Callable[[], Access | None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Serve on `listener`, over `tls` if given; `changed_rules` returns new rules, or None."""
        super().__init__(BrokerConfig(listeners={"default": ListenerConfig()}, plugins={}))
        self._listener = listener
        self._changed_rules = changed_rules
        self._tls = tls
        self._open = 0
        self.rules = changed_rules() or Access({})

    async def refresh(self) -> None:
        """Take over changed rules, and cut off whoever they no longer know as they were."""
        rules = self._changed_rules()
        if rules is None:
            return
        before, self.rules = self.rules, rules
        for session, handler in list(self._sessions.values()):
            if rules.is_changed(session.username, before):
                logger.warning("cut off client=%s: its user changed", session.client_id)
                await handler.handle_connection_closed()

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one connection to its end, and close it however it ends."""
        bounded = BoundedWriter(writer)
        self._open += 1
        try:
            if self._open > _CONNECTIONS:
                logger.warning("connection refused: %d are open", _CONNECTIONS)
                return
            await self._client_connected(listener_name, BoundedReader(reader), bounded)
        finally:
            self._open -= 1
            await bounded.close()

    async def _create_server_instance(self, listener_name: str, *_: Any) -> asyncio.Server:
        return await asyncio.start_server(
            partial(self.stream_connected, listener_name=listener_name),
            sock=self._listener,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else FIRST_PACKET_S,
        )

    async def _initialize_client_session(
        self, reader: BoundedReader, writer: BoundedWriter, remote_address: str, remote_port: int
    ) -> tuple[_Handler, Any]:
        """Read who asks, judge it, and only then take over what that client had before.

        Raises:
            MQTTError: no proper CONNECT came, or it is refused.
        """
        try:
            async with asyncio.timeout(reader.idle_s):
                handler, session = await _Handler.init_from_connect(
                    reader, writer, self.plugins_manager
                )
        except _MALFORMED as error:
            raise MQTTError(f"no CONNECT from {remote_address}:{remote_port}: {error}") from None
        await self.refresh()
        refusal = self.rules.refuse_connection(_knock(session))
        if refusal is not None:
            logger.warning(
                "connection refused user=%.64r client=%.64r from=%s: %s",
                *(session.username, session.client_id, remote_address, refusal),
            )
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            raise MQTTError(refusal)
        handler.access = self
        reader.limit_bytes = PACKET_LIMIT_BYTES
        reader.idle_s = writer.idle_s = session.keep_alive * _KEEPALIVE_SLACK or _NO_KEEPALIVE_S
        session.keep_alive = 0  # `streams` watches over silence; amqtt's own timer does nothing
        session.clean_session = True
        session.parent = 0
        await self._end_previous(session.client_id)
        return handler, session

    async def _end_previous(self, client_id: str) -> None:
        """End the client's earlier connection, which says its last will; nothing suspends here."""
        _, handler = self._sessions.get(client_id, (None, None))
        if handler is not None:
            await handler.handle_connection_closed()
            await self._delete_session(client_id)

    async def _authenticate(self, *_: Any) -> bool:
        return True  # nobody comes this far without `_initialize_client_session`

    async def _topic_filtering(self, session: Any, topic: str, action: Action) -> bool:
        """Judge without suspending (see 5); what is published was judged on arrival."""
        if action == Action.PUBLISH:
            return True
        if action == Action.RECEIVE:
            return self.rules.may_receive(session.username, topic)
        allowed = self.rules.may_subscribe(session.username, topic)
        if not allowed:
            logger.warning("subscription refused user=%s filter=%.200r", session.username, topic)
        return allowed

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Any
    ) -> None:
        """Send what is retained under a filter that this very session holds; do not wait for it."""
        topic_filter, qos = subscription
        holders = self._subscriptions.get(topic_filter, [])
        handler = self._get_handler(session)
        if handler is None or all(held is not session for held, _ in holders):
            return
        for topic, retained in self._retained_messages.items():
            if self._matches(topic, topic_filter) and self.rules.may_receive(
                session.username, topic
            ):
                lower = min(qos, qos if retained.qos is None else retained.qos)
                delivery = handler.mqtt_publish(topic, retained.data, lower, retain=True)
                self._tasks_queue.append(asyncio.ensure_future(delivery))


def _knock(session: Any) -> Knock:
    will = None
    if session.will_flag:
        will = Publish(
            topic=session.will_topic,
            size_bytes=len(session.will_message),
            retained=session.will_retain,
            qos=session.will_qos,
        )
    return Knock(
        client_id=session.client_id,
        user=session.username or "",
        secret=session.password or "",
        will=will,
    )
