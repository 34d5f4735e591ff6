"""Every page in a real browser, over a filled database, served by a process of its own.

The tests share one server and one browser; each begins by saying who looks.
"""

import shutil
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import pytest
from selenium import webdriver

from fleet_server.tokens import Role
from tests.fleet_server.console.conftest import serving, wait_until
from tests.fleet_server.console.served import NEWCOMER, Filled
from tests.fleet_server.fleet import BOOT

pytestmark = [pytest.mark.e2e, pytest.mark.long]

AXE = resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
PHONE = 390
PAIR = f"samples/car-1/{BOOT}/11"

PAGES = {
    "": "The fleet",
    "cars/car-1": "car-1",
    "cars/nobody": "nobody",
    "samples": "Samples",
    PAIR: "Pair 11 of car-1",
    "deployments?left=garage&right=garage": "Deployments",
    "drift": "Drift",
    "models": "Models",
    "models/{model}": "Model {short}",
    "rollouts": "Rollouts",
    "training": "Training",
    "log": "Log book",
    "system": "System",
    "sign-in": "Sign in",
}

FAULTS = """
const done = arguments[arguments.length - 1];
const rules = arguments[0] ? {runOnly: {type: "rule", values: arguments[0]}} : {};
axe.run(document, {resultTypes: ["violations"], ...rules}).then((found) => done(
  found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => each.id + ": " + each.nodes.slice(0, 3).map((node) => node.html).join(" | "))
));
"""
SEND = """
const form = [...document.querySelectorAll("form[data-act]")]
  .find((each) => each.dataset.act === arguments[0] && each.dataset.key === arguments[1]);
form.closest("details").open = true;
for (const [name, value] of Object.entries(arguments[2])) form.elements[name].value = value;
form.requestSubmit();
"""
FORGE = """
const [id, sheet] = Object.entries(mounted_app.elements)
  .find(([, each]) => each.events.some((event) => event.type === "act"));
window.socket.emit("event", {
  id: Number(id),
  client_id: window.clientId,
  listener_id: sheet.events.find((event) => event.type === "act").listener_id,
  args: [JSON.stringify({act: arguments[0], key: arguments[1], values: arguments[2]})],
});
"""
"""Sends over the page's websocket what a form would send, whether it was drawn or not."""


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    found = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )
    return [str(text) for text in found]


def differs(browser: webdriver.Chrome, selector: str, before: list[str]) -> bool:
    return texts(browser, selector) != before


def complaints(browser: webdriver.Chrome) -> list[object]:
    """Return what the page wrote to the browser's console."""
    return list(browser.execute("getLog", {"type": "browser"})["value"])


def look(browser: webdriver.Chrome, scheme: str, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def sign_in(browser: webdriver.Chrome, url: str, filled: Filled, role: Role | None) -> None:
    """Look as `role` from now on, through the form that people use; None is a guest."""
    browser.get(f"{url}/sign-in")
    browser.delete_all_cookies()
    if role is not None:
        wait_until(lambda: texts(browser, "form.sign-in"))
        browser.execute_script(
            "const form = document.querySelector('form.sign-in');"
            "form.elements.token.value = arguments[0]; form.requestSubmit();",
            filled.secrets[role],
        )
        wait_until(lambda: texts(browser, ".account form span") == [f"a-{role}, {role}"])


def visit(browser: webdriver.Chrome, url: str, path: str) -> None:
    browser.get(f"{url}/{path}")
    wait_until(lambda: texts(browser, "h1"))


def rest(url: str, filled: Filled, path: str) -> Any:
    """Return what REST says to an administrator."""
    headers = {"Authorization": f"Bearer {filled.secrets['admin']}"}
    answer = httpx2.get(f"{url}/api/v1/{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def faults(browser: webdriver.Chrome, *rules: str) -> list[str]:
    """Return what axe finds that is serious, by all its rules or by some."""
    browser.execute_script(f"if (!window.axe) {{ {AXE} }}")
    return [str(each) for each in browser.execute_async_script(FAULTS, list(rules) or None)]


def test_every_page_reads_well_for_everybody(
    browser: webdriver.Chrome, url: str, filled: Filled
) -> None:
    sign_in(browser, url, filled, "admin")
    digest = filled.models[-1]
    found, asked = {}, set()
    for path, heading in PAGES.items():
        look(browser, "light", 1280)
        visit(browser, url, path.format(model=digest))
        assert texts(browser, "h1") == [heading.format(short=digest[:8])]
        light = faults(browser)
        look(browser, "dark", PHONE)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        dark = faults(browser, "color-contrast")
        found[path] = [*light, *dark, *([f"{width} wide"] if width > PHONE else [])]
        asked |= set(
            browser.execute_script(
                "return performance.getEntriesByType('resource').map(e => e.name)"
            )
        )
        assert complaints(browser) == [], path

    assert {path: each for path, each in found.items() if each} == {}
    assert all(name.startswith(url) for name in asked)
    assert browser.execute_script("return document.documentElement.lang") == "en-GB"


def test_the_reader_chooses_light_or_dark(
    browser: webdriver.Chrome, url: str, filled: Filled
) -> None:
    look(browser, "light", 1280)
    sign_in(browser, url, filled, None)
    visit(browser, url, "log")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(ground)
    browser.execute_script("document.querySelector('[data-scheme-next]').click()")
    dark = browser.execute_script(ground)
    visit(browser, url, "log")

    assert light != dark == browser.execute_script(ground)
    browser.execute_script("localStorage.clear()")


def test_the_fleet_is_shown_and_searched(
    browser: webdriver.Chrome, url: str, filled: Filled
) -> None:
    sign_in(browser, url, filled, None)
    visit(browser, url, "")
    wait_until(lambda: texts(browser, ".chart svg text"))

    assert texts(browser, "table.cars tbody th") == ["car-1", "car-2", "car-3"]
    assert texts(browser, ".figure .value")[:2] == ["180", "1 of 3"]
    assert {"car-1", "v1", "mean error (mm)"} <= set(texts(browser, ".chart svg text"))
    visit(browser, url, "?q=2&order=error&down=1")
    assert texts(browser, "table.cars tbody th") == ["car-2"]
    visit(browser, url, "?q=%25")
    assert texts(browser, "table.cars tbody th") == []
    assert browser.get_cookies() == []


ACTS: tuple[tuple[str, str, str, dict[str, str], str, dict[str, object]], ...] = (
    ("rollouts", "rollout-paused", "garage", {}, "deployments/garage/rollout",
     {"state": "paused"}),
    ("rollouts", "rollout-running", "garage", {}, "deployments/garage/rollout",
     {"state": "running"}),
    ("rollouts", "rollout-aborted", "garage", {}, "deployments/garage/rollout",
     {"state": "aborted"}),
    ("cars/car-3", "confirm", "", {"fingerprint": NEWCOMER.fingerprint}, "devices/car-3",
     {"state": "confirmed"}),
    ("cars/car-3", "revoke", "", {}, "devices/car-3", {"state": "revoked"}),
    ("log", "note", "", {}, "decisions", {"kind": "note", "actor": "a-operator"}),
    ("deployments", "create", "", {"name": "hall"}, "deployments", {"name": "hall"}),
    ("deployments", "pin", "garage", {"version": "1"}, "deployments/garage",
     {"pinned_version": 1}),
    ("deployments", "status", "hall", {}, "deployments/hall", {"status": "retired"}),
    ("cars/car-1", "command", "sync", {}, "commands", {"verb": "sync", "actor": "a-operator"}),
    ("cars/car-2", "move", "", {"deployment": "garage"}, "decisions", {"kind": "move"}),
    ("drift", "veto", "1", {}, "decisions", {"kind": "veto", "verdict": 1}),
    ("drift", "approve", "1", {}, "decisions", {"kind": "approve", "verdict": 1}),
    ("training", "train", "", {"trials": "3"}, "training-jobs", {"state": "queued", "trials": 3}),
    ("training", "cancel", "3", {}, "training-jobs", {"id": 3, "state": "cancelled"}),
    (PAIR, "annotate", "", {"kind": "bad-picture", "label": "281"}, f"{PAIR}/annotations",
     {"kind": "bad-picture", "label": 281.0, "author": "a-operator"}),
    ("system", "acknowledge", "2", {}, "alerts", {"acknowledged_by": "a-operator"}),
    ("system", "replay", "1", {}, "decisions", {"kind": "replay"}),
    ("system", "enrol", "", {"device": "car-9"}, "enrolments", {"device": "car-9"}),
)  # fmt: skip
"""Page, act, key, what is filled in beside the reason, and what REST says after it."""


def test_each_act_is_done_and_rest_shows_it(
    browser: webdriver.Chrome, url: str, filled: Filled
) -> None:
    look(browser, "light", 1280)
    sign_in(browser, url, filled, "operator")
    before = ""
    for path, act, key, values, asked, told in ACTS:
        if path != before:
            visit(browser, url, path)
        before = path
        form = f"form[data-act='{act}'][data-key='{key}']"
        assert texts(browser, form), f"{act} is not drawn"
        said = texts(browser, ".told")
        browser.execute_script(SEND, act, key, {**values, "reason": f"to see {act}"})
        wait_until(partial(differs, browser, ".told", said))

        assert texts(browser, ".told.bad") == [], act
        answer = rest(url, filled, asked)
        found = answer["items"][-1] if "items" in answer else answer
        assert {name: found[name] for name in told} == told
    reasons = [each["reason"] for each in rest(url, filled, "decisions")["items"]]
    assert {f"to see {act}" for _, act, *_ in ACTS if act != "annotate"} <= set(reasons)
    assert complaints(browser) == []


def test_what_cannot_be_done_is_told_in_words(
    browser: webdriver.Chrome, url: str, filled: Filled
) -> None:
    sign_in(browser, url, filled, "operator")
    visit(browser, url, "cars/car-2")
    browser.execute_script(SEND, "command", "sync", {"reason": "to see it send"})
    wait_until(lambda: texts(browser, ".told"))

    assert texts(browser, ".told.bad") == [
        "Not done: car-2 is not connected; only stop is said all the same."
    ]


FORGED: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("log", "note", "", {}),
    ("cars/car-1", "command", "stop", {}),
    ("deployments", "create", "", {"name": "forged"}),
    ("training", "train", "", {"trials": "0", "deployment": "garage"}),
    (PAIR, "annotate", "", {"kind": "bad-picture"}),
    ("system", "create-token", "", {"name": "forged", "role": "admin"}),
)
"""Acts that a viewer may not do; the last one an operator may not either."""


def everything(url: str, filled: Filled) -> list[Any]:
    paths = ("decisions", "commands", "deployments", "training-jobs", f"{PAIR}/annotations")
    return [rest(url, filled, path)["items"] for path in (*paths, "tokens")]


def forged(browser: webdriver.Chrome, *sent: object) -> None:
    """Send what was never drawn, and wait until the server has surely heard it."""
    browser.execute_script(FORGE, *sent)
    for _ in range(2):
        wait_until(partial(differs, browser, ".live", texts(browser, ".live")))


@pytest.mark.parametrize(("role", "acts"), [(None, FORGED), ("operator", FORGED[-1:])])
def test_nothing_is_possible_beyond_the_role(
    browser: webdriver.Chrome,
    url: str,
    filled: Filled,
    role: Role | None,
    acts: tuple[tuple[str, str, str, dict[str, str]], ...],
) -> None:
    sign_in(browser, url, filled, role)
    before = everything(url, filled)
    for path, act, key, values in acts:
        visit(browser, url, path)
        assert texts(browser, f"form[data-act='{act}']") == []
        assert "Tokens" not in texts(browser, "h2")
        forged(browser, act, key, {**values, "reason": "a forged one"})
    assert everything(url, filled) == before


def test_tokens_are_made_and_a_revoked_one_loses_its_rights_on_open_pages(
    browser: webdriver.Chrome, url: str, filled: Filled
) -> None:
    sign_in(browser, url, filled, "operator")
    visit(browser, url, "log")
    hers = browser.current_window_handle
    browser.switch_to.new_window("tab")
    sign_in(browser, url, filled, "admin")
    visit(browser, url, "system")
    wait_until(lambda: texts(browser, "form[data-act='create-token']"))
    made = {"name": "b-viewer", "role": "viewer", "reason": "she begins"}
    browser.execute_script(SEND, "create-token", "", made)
    wait_until(lambda: texts(browser, ".told.good"))
    (said,) = texts(browser, ".told.good")
    secret = said.removeprefix("Token of b-viewer, shown this once: ")
    answer = httpx2.get(f"{url}/api/v1/devices", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200

    number = next(
        each["id"] for each in rest(url, filled, "tokens")["items"] if each["name"] == "a-operator"
    )
    browser.execute_script(SEND, "revoke-token", str(number), {"reason": "she has left"})
    wait_until(lambda: len(texts(browser, ".told.good")) == 2)
    assert texts(browser, ".told.good") == ["The token of a-operator counts no more.", said]
    visit(browser, url, "system")
    assert secret not in str(texts(browser, "body"))
    browser.close()
    browser.switch_to.window(hers)
    wait_until(lambda: texts(browser, ".empty p"))
    assert texts(browser, ".empty p")[0] == "You are signed out, or your token was revoked."
    assert texts(browser, "form[data-act]") == []

    browser.get(f"{url}/sign-in")
    browser.delete_all_cookies()
    browser.execute_script(
        "const form = document.querySelector('form.sign-in');"
        "form.elements.token.value = arguments[0]; form.requestSubmit();",
        filled.secrets["operator"],
    )
    wait_until(lambda: texts(browser, ".told.bad"))
    assert texts(browser, ".told.bad") == [
        "this token is unknown or was revoked: ask for a new one"
    ]


def test_a_stranger_signs_in_first(filled: Filled, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(filled.state, state)
    socket = "_nicegui_ws/socket.io/?EIO=4&transport=polling"
    elsewhere = {"Origin": "https://evil.example"}
    closed = {"PARKFLEET_SERVER_CONSOLE_GUESTS": "nobody"}
    with (
        serving(state, **closed) as url,
        httpx2.Client(base_url=url, follow_redirects=True) as client,
    ):
        assert client.get("/log").url.path == "/sign-in"
        assert client.get(f"/view/{PAIR}/picture").status_code == 401
        assert client.get(f"/{socket}").status_code == 403
        form = {"token": filled.secrets["viewer"], "next": "/log"}
        assert client.post("/sign-in", data=form, headers=elsewhere).url.path == "/sign-in"
        signed = client.post("/sign-in", data=form, follow_redirects=False)
        assert signed.headers["location"] == "/log"
        cookie = signed.headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict"} <= {each.strip() for each in cookie.split(";")}

        assert client.get("/log").url.path == "/log"
        assert client.get(f"/view/{PAIR}/picture").headers["content-type"] == "image/jpeg"
        assert client.get("/view/tokens").status_code == 403
        assert client.get(f"/{socket}", headers=elsewhere).status_code == 403
        assert client.get(f"/{socket}").status_code == 200
        client.post("/sign-out", headers=elsewhere)
        assert client.get("/log").url.path == "/log"
        client.post("/sign-out")
        assert client.get("/log").url.path == "/sign-in"
