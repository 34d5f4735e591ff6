import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_server.console import parts, plots
from fleet_server.console.nodes import found, moment, node, said
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import MOST_FIELDS, MOST_LETTERS, Sent, sent

SENT = {"act": "note", "key": "1", "values": {"reason": "because"}}


def test_attributes_that_are_not_given_are_left_out() -> None:
    made = node("input", name="q", required=True, disabled=False, aria_label=None, data_act="x")

    assert made["a"] == {"name": "q", "required": "", "data-act": "x"}


def test_a_tree_says_its_texts_in_order() -> None:
    tree = node("p", "one", node("b", "two"), None, "three")

    assert said(tree) == "one two three"
    assert [each["t"] for each in found(tree, "b")] == ["b"]


def test_a_moment_is_utc_until_the_browser_says_it() -> None:
    made = moment(1_700_000_000_000_000)

    assert said(made) == "2023-11-14 22:13:20 UTC"
    assert made["at"] == 1_700_000_000_000
    assert said(moment(None)) == "\N{EN DASH}"


def test_a_table_names_each_value_for_a_phone() -> None:
    columns = (Column(name="Car"), Column(name="Queue", is_number=True))
    tree = parts.table("Cars", columns, [Row(key="car-1", cells=("car-1", "3"))])

    assert [each["a"]["data-name"] for each in found(tree, "td")] == ["Queue"]
    assert said(next(found(tree, "caption"))) == "Cars"
    assert next(found(tree, "tbody"))["k"][0]["k"][0]["a"]["scope"] == "row"


@settings(max_examples=25)
@given(st.text(max_size=40), st.text(max_size=40))
def test_foreign_text_in_an_address_leads_nowhere_else(name: str, value: str) -> None:
    href = parts.address("cars", name, q=value)

    assert href.startswith("/cars/")
    assert not any(each in href for each in ' "<>\\\n')
    assert "/" not in href.partition("?")[0].removeprefix("/cars/")


@settings(max_examples=25)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.lists(st.floats(-1e6, 1e6)))
def test_a_histogram_shows_all_values_of_each_set(one: list[float], other: list[float]) -> None:
    bars = list(found(plots.histogram("label", [("a", one), ("b", other)]), "rect"))

    assert any("series-0" in each["c"] for each in bars)
    assert any("series-1" in each["c"] for each in bars) is bool(other)
    assert all(0 <= each["a"]["height"] <= 150 for each in bars)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=9))
def test_curves_stay_within_their_frame(points: list[tuple[float, float]]) -> None:
    svg = next(found(plots.curves("error", [("error", points)], level=3.0), "svg"))

    for line in found(svg, "polyline"):
        for point in line["a"]["points"].split():
            x, y = map(float, point.split(","))
            assert -0.1 <= x <= 320.1
            assert -0.1 <= y <= 150.1


def test_evidence_of_any_shape_is_shown() -> None:
    tree = parts.document(
        {"gate": "size", "passed": True, "slices": [{"near": 1.25}], "x": {"y": []}}
    )

    assert said(tree) == "gate size passed yes slices Records near 1.25 x y "[:-1]


def test_a_form_that_was_sent_is_what_it_says() -> None:
    assert sent(SENT) == Sent(act="note", key="1", values={"reason": "because"})


@pytest.mark.parametrize(
    "said_instead",
    [
        None,
        [],
        {**SENT, "act": 1},
        {**SENT, "key": None},
        {**SENT, "values": "reason"},
        {**SENT, "values": {"reason": {"file": 1}}},
        {**SENT, "values": {"reason": "x" * (MOST_LETTERS + 1)}},
        {**SENT, "values": {str(place): "" for place in range(MOST_FIELDS + 1)}},
    ],
)
def test_what_is_no_form_is_not_heard(said_instead: object) -> None:
    assert sent(said_instead) is None
