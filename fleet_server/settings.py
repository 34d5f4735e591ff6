"""The fleet server's settings: `server.toml` in its state folder, overruled by the environment.

`PARKFLEET_SERVER_PORT=8081` overrules `port`, and so on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fleet_server.rollout.stages import Strategy
from shared import settings

PREFIX = "PARKFLEET_SERVER"

Role = Literal["all", "api", "ingest", "control"]
"""Which parts of the server run in a process."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Kept = Annotated[int, msgspec.Meta(ge=1024 * 1024, le=2**40)]
Address = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s@]+$", max_length=500)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]


class MailSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """E-mail for every alert, as long as `recipients` are named.

    `host`, `port`, `security`: the mail server, and how the connection to it is protected.
    `ca_file`: the authority that vouches for the mail server, where the machine's own do not.
    `user`, `password_file`: how to sign in there; without a user nobody does.
    `sender`: whom the mail is from.
    """

    host: str = "127.0.0.1"
    port: Port = 25
    security: Literal["none", "starttls", "tls"] = "starttls"
    ca_file: str | None = None
    user: str | None = None
    password_file: str | None = None
    sender: str = "parkfleet@localhost"
    recipients: tuple[Annotated[str, msgspec.Meta(max_length=254)], ...] = ()


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set.

    `host`, `port`: where REST and the web pages listen.
    `probe_port`: where a process of the role `ingest` or `control`, which serves no REST, answers
    `/health`, `/ready` and `/metrics`; nowhere if it is not set.
    `broker_host`, `broker_port`: where the broker is, for this server.
    `advertised_broker_host`, `advertised_broker_port`: where cars are told that it is; the same
    where they are not set.
    `broker_ca_file`: the certificate authority of a broker with TLS; cars are given its content.
    `broker_cert_file`, `broker_key_file`: the server's certificate for a broker that asks for one.
    `database`: a PostgreSQL database in place of the SQLite file in the state folder, as in
    postgresql://fleet@host/parkfleet; the password lies in ~/.pgpass.
    `database_cache_mib`: the memory for pages of the SQLite file of the connection that writes;
    each of up to fifteen that read may take a quarter as much.
    `objects`: where the received bytes are kept in place of the database, as in s3://bucket/prefix;
    credentials are read from the environment (AWS_ACCESS_KEY_ID ...).
    `quota_bytes`, `quota_rows`: what one car may send in a minute; what is above is not taken in,
    and the car sends it again later.
    `quarantine_car_bytes`, `quarantine_bytes`: how much is kept of refused messages, of one car and
    of all; the oldest make room.
    `first_training_pairs`: labelled pairs with pictures that a deployment needs for a first model.
    `first_training_manoeuvres`: manoeuvres that each contributing car needs for a first model.
    `retrain_pairs`, `retrain_manoeuvres`: such pairs, and manoeuvres with trusted labels, since the
    error rose that a retraining needs.
    `retrain_cool_down_s`: how long after one retraining was asked for the next may be.
    `retrains_a_day`: so many retrainings of a deployment are asked for in 24 hours, at the most.
    `retrain_approval`: whether a person must approve each retraining first.
    `drift_between_alarms`: manoeuvres of one car expected between two false alarms, at the least;
    fewer find a real change sooner.
    `drift_slack`: how many times worse than its reference a car may be and still count as the same.
    `drift_window`: manoeuvres that are compared with the reference together.
    `reference_manoeuvres`: a model's first manoeuvres on a car that are its reference.
    `manoeuvre_timeout_s`: a manoeuvre whose pairs have not all arrived by then counts as it is.
    `rollout_strategy`: how a new model goes through a deployment that has one: `direct` to all cars
    at once, `shadow` to all cars for a trial of their own, `canary` the same in growing stages;
    `ab` and `bandit` have each car drive by both models in turn, until one is proven better.
    `rollout_share`: the share of manoeuvres that the new model drives under `ab`.
    `rollout_deadline_s`: a car that has said nothing of a stage's model by then has failed it.
    `lease_s`: a training job is handed on where its worker was silent for so long.
    `job_claims`: how often a job is handed out in all; where its worker fell silent each time, it
    ends as failed.
    `job_attempts`, `job_pause_s`: how often, and after which pause, a failed training is repeated.
    `control_interval_s`: the pause between two looks at the committed rows, more after long ones.
    `enrolment_code_s`: how long an enrolment code may be used.
    `confirm_devices`: whether a car counts only once an operator has confirmed its fingerprint.
    `key_overlap_s`: how long a car's former key counts for batches that it signed before.
    `heartbeat_silence_s`: a connected car that says nothing for so long is shown as silent.
    `event_stream_s`: how long a stream of events stays open; clients connect again.
    `car_silent_s`: a car that nothing was heard of for so long is an alert.
    `console_guests`: who may look at the console without signing in, as a viewer: who sits at this
    machine (`loopback`), `nobody` or `everybody`.
    `console_session_s`: how long a person stays signed in at the console; unused, a twelfth of it.
    `refused_an_hour`: so many refused messages of one car within an hour are an alert.
    `webhooks`: addresses that every alert is sent to, signed; see docs/alerts.md.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    probe_port: Port | None = None
    broker_host: str = "127.0.0.1"
    broker_port: Port = 1883
    advertised_broker_host: str | None = None
    advertised_broker_port: Port | None = None
    broker_ca_file: str | None = None
    broker_cert_file: str | None = None
    broker_key_file: str | None = None
    database: str | None = None
    database_cache_mib: Annotated[int, msgspec.Meta(ge=4, le=65536)] = 64
    objects: str | None = None
    quota_bytes: Positive = 64 * 1024 * 1024
    quota_rows: Positive = 60_000
    quarantine_car_bytes: Kept = 16 * 1024 * 1024
    quarantine_bytes: Kept = 256 * 1024 * 1024
    first_training_pairs: Positive = 400
    first_training_manoeuvres: Positive = 2
    retrain_pairs: Positive = 150
    retrain_manoeuvres: Positive = 3
    retrain_cool_down_s: NotNegative = 600.0
    retrains_a_day: Positive = 12
    retrain_approval: bool = False
    drift_between_alarms: Annotated[float, msgspec.Meta(ge=10.0, le=1e9)] = 200.0
    drift_slack: Annotated[float, msgspec.Meta(ge=1.0, le=10.0)] = 1.2
    drift_window: Annotated[int, msgspec.Meta(ge=3, le=100)] = 8
    reference_manoeuvres: Annotated[int, msgspec.Meta(ge=5, le=200)] = 20
    manoeuvre_timeout_s: PositiveFloat = 60.0
    rollout_strategy: Strategy = "shadow"
    rollout_share: Annotated[float, msgspec.Meta(ge=0.05, le=0.95)] = 0.5
    rollout_deadline_s: PositiveFloat = 604_800.0
    lease_s: PositiveFloat = 60.0
    job_claims: Positive = 3
    job_attempts: Positive = 3
    job_pause_s: PositiveFloat = 30.0
    control_interval_s: PositiveFloat = 0.5
    enrolment_code_s: Annotated[float, msgspec.Meta(gt=0.0, le=900.0)] = 900.0
    confirm_devices: bool = True
    key_overlap_s: PositiveFloat = 86_400.0
    heartbeat_silence_s: PositiveFloat = 30.0
    event_stream_s: PositiveFloat = 300.0
    car_silent_s: PositiveFloat = 86_400.0
    console_guests: Literal["loopback", "nobody", "everybody"] = "loopback"
    console_session_s: PositiveFloat = 43_200.0
    refused_an_hour: Positive = 10
    webhooks: tuple[Address, ...] = ()
    mail: MailSettings = MailSettings()


def load(state: Path, given: Mapping[str, object]) -> ServerSettings:
    """Return the settings of the server whose state folder is `state`, overruled by `given`.

    Raises:
        UsageError: the file, a variable or a given value is wrong.
    """
    path = state / "server.toml"
    found = settings.load(ServerSettings, path if path.exists() else None, prefix=PREFIX)
    table = {**msgspec.structs.asdict(found), **given}
    return settings.convert(table, ServerSettings, source="options")
